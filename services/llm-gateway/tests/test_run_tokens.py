"""A session's token is exchanged for that of one of its own runs, as long as the run goes on."""

import httpx

from runyard_chassis import Tokens, derive_key
from runyard_chassis.tokens import SESSION_AUDIENCE, SESSION_KEY
from runyard_events import EventLog, Scope, Writer, new_id
from runyard_events.catalogue import RunCancelled, RunRequested, SandboxRequested, SessionCreated, SessionDeleted

from .conftest import JWT_KEY, Gateway, run_tokens


class Session:
    """A session with a sandbox, as its orchestrator writes it."""

    def __init__(self, gateway: Gateway, log: EventLog) -> None:
        self.tenant, self.id, self.run = gateway.tenant, new_id(), new_id()
        self.of_session = Writer(log, scope=Scope.session(self.tenant, self.id), source="orchestrator")
        self.of_run = Writer(log, scope=Scope.run(self.tenant, self.id, self.run), source="orchestrator")
        self.of_sandbox = Writer(log, scope=Scope.session(self.tenant, self.id), source="orchestrator.sandbox")
        self._url = f"{gateway.url}/run-tokens"

    async def begin(self) -> "Session":
        await self.of_session.append(SessionCreated(workspace_id="w", runner_type="codex", thread_id="t"))
        await self.of_sandbox.append(SandboxRequested(epoch=2, method="docker", purpose="run"))
        await self.of_run.append(RunRequested(prompt="p", workspace_id="w", runner_type="codex"))
        return self

    def token(self, *, epoch: int = 2, tenant: str | None = None) -> str:
        tokens = Tokens(derive_key(JWT_KEY, SESSION_KEY), SESSION_AUDIENCE)
        return tokens.mint(tenant=tenant or self.tenant, session=self.id, epoch=epoch)

    async def ask(self, token: str, run: str | None = None) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token}"}
        async with httpx.AsyncClient(headers=headers, trust_env=False) as client:
            return await client.post(self._url, json={"run_id": run or self.run})


async def test_the_token_of_a_run_is_for_that_run(as_deployed: tuple[Gateway, EventLog]) -> None:
    session = await Session(*as_deployed).begin()
    answer = await session.ask(session.token())
    assert answer.status_code == 201
    claims = run_tokens().verify(answer.json()["token"])
    assert (claims.tenant, claims.session, claims.run) == (session.tenant, session.id, session.run)


async def test_no_token_is_given_for_what_is_not_the_session_s_own(as_deployed: tuple[Gateway, EventLog]) -> None:
    gateway, _ = as_deployed
    session, other = await Session(*as_deployed).begin(), await Session(*as_deployed).begin()
    assert (await session.ask(session.token(), other.run)).status_code == 404
    assert (await session.ask(session.token(tenant=new_id()))).status_code == 401
    assert (await session.ask(session.token(epoch=1))).status_code == 401
    assert (await session.ask(session.token(epoch=3))).status_code == 401
    for strange in (gateway.user_token, gateway.token, "x"):
        assert (await session.ask(strange)).status_code == 401
    for shape in ("*", ">", "a.b", ""):
        async with httpx.AsyncClient(trust_env=False) as client:
            headers = {"Authorization": f"Bearer {session.token()}"}
            answer = await client.post(f"{gateway.url}/run-tokens", json={"run_id": shape}, headers=headers)
            assert answer.status_code == 422, shape


async def test_a_run_or_a_session_that_has_ended_gets_none(as_deployed: tuple[Gateway, EventLog]) -> None:
    ended, deleted = await Session(*as_deployed).begin(), await Session(*as_deployed).begin()
    await ended.of_run.append(RunCancelled())
    await deleted.of_session.append(SessionDeleted())
    assert (await ended.ask(ended.token())).status_code == 409
    assert (await deleted.ask(deleted.token())).status_code == 401

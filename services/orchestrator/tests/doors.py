"""A server as `runyard up` starts it, the doorkeeper before it, and containers of sessions that want in."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import nats
from nats.aio.client import Client
from nats.errors import Error as NatsError

from runyard_chassis.tokens import SESSION_AUDIENCE, Tokens
from runyard_events import CommandBus, EventLog, Scope, Writer, command, connect, new_id
from runyard_events.catalogue import RunRequested, SandboxRequested, SessionCreated
from runyard_events.commands import StartInSandbox
from runyard_events.connection import inbox_prefix
from runyard_events.session_account import session_permissions
from runyard_events.topology import ensure_sandbox_queue, sandbox_durable
from runyard_orchestrator.adapters.doorkeeper import Doorkeeper
from runyard_stack.testing import SecuredNats

KEY = "a-test-key-that-is-long-enough-for-hs256"
TOKENS = Tokens(KEY, SESSION_AUDIENCE)


@dataclass(frozen=True)
class Box:
    """A session with a sandbox of its own, and its token."""

    tenant: str
    session: str
    run: str
    token: str

    @property
    def scope(self) -> Scope:
        return Scope.run(self.tenant, self.session, self.run)

    @property
    def inbox(self) -> str:
        return inbox_prefix(sandbox_durable(self.session))


@dataclass
class Street:
    """The server with its streams, the services' connections, and everything that may be done to it."""

    nats: SecuredNats
    root: Client
    orchestrator: Client
    log: EventLog
    door: Doorkeeper
    guests: list[Client] = field(default_factory=list[Client])
    errors: dict[str, list[str]] = field(default_factory=dict[str, list[str]])

    async def box(self, *, tenant: str | None = None, epoch: int = 1, lifetime: timedelta = timedelta(days=1)) -> Box:
        """A session with a run and a container of this epoch."""
        tenant, session, run = tenant or new_id(), new_id(), new_id()
        of_session = Writer(self.log, scope=Scope.session(tenant, session), source="orchestrator")
        await of_session.append(SessionCreated(workspace_id="w", runner_type="codex", thread_id="t"))
        sandbox = Writer(self.log, scope=Scope.session(tenant, session), source="orchestrator.sandbox")
        await sandbox.append(SandboxRequested(epoch=epoch, method="docker", purpose="run"))
        of_run = Writer(self.log, scope=Scope.run(tenant, session, run), source="orchestrator")
        await of_run.append(RunRequested(prompt=f"secret of {session}", workspace_id="w", runner_type="codex"))
        await ensure_sandbox_queue(self.orchestrator, session)
        return Box(tenant, session, run, token(tenant, session, epoch, lifetime))

    async def enter(self, box: Box, **options: Any) -> Client:
        """The container's connection, as its runner makes it."""
        client = await connect(
            self.nats.url,
            service=sandbox_durable(box.session),
            user=options.pop("user", box.session),
            password=options.pop("password", box.token),
            wait_seconds=options.pop("wait_seconds", 5),
        )
        self.guests.append(client)
        return client

    async def break_in(self, box: Box) -> Client:
        """The same by a program of the agent's own, which gives up when it is refused."""
        found: list[str] = []

        async def note(error: Exception) -> None:
            found.append(str(error))

        client = await nats.connect(
            self.nats.url,
            user=box.session,
            password=box.token,
            inbox_prefix=box.inbox.encode(),
            allow_reconnect=False,
            error_cb=note,
        )
        self.guests.append(client)
        self.errors[box.session] = found
        return client

    async def order(self, box: Box, prompt: str) -> StartInSandbox:
        """The command that starts its run in its container."""
        order = StartInSandbox(
            session_id=box.session,
            run_id=box.run,
            workspace_id="w",
            runner_type="codex",
            prompt=prompt,
            thread_id="t",
            working_directory="/w",
        )
        await CommandBus(self.root).send(command(order, tenant_id=box.tenant))
        return order

    async def stored(self) -> dict[str, dict[str, int]]:
        """How many messages there are on each subject of each stream."""
        return {name: await self.subjects(name) for name in ("EVENTS", "COMMANDS", "DLQ", "KV_leases", "OBJ_outputs")}

    async def subjects(self, stream: str) -> dict[str, int]:
        answer = await self.root.request(f"$JS.API.STREAM.INFO.{stream}", b'{"subjects_filter": ">"}')
        return json.loads(answer.data)["state"].get("subjects") or {}

    async def consumers(self) -> dict[str, Any]:
        """Every consumer's configuration, by stream and name."""
        found: dict[str, Any] = {}
        for stream in ("EVENTS", "COMMANDS"):
            answer = await self.root.request(f"$JS.API.CONSUMER.LIST.{stream}", b"{}")
            for one in json.loads(answer.data)["consumers"]:
                found[f"{stream}.{one['name']}"] = one["config"]
        return found


def token(tenant: str, session: str, epoch: int = 1, lifetime: timedelta = timedelta(days=1)) -> str:
    return TOKENS.mint(tenant=tenant, session=session, epoch=epoch, lifetime=lifetime)


@asynccontextmanager
async def street(secured: SecuredNats, *, stay_seconds: float = 3600) -> AsyncGenerator[Street]:
    root = await connect(secured.url, service="stack", user="stack", password=secured.passwords["stack"])
    own = await connect(
        secured.url, service="orchestrator", user="orchestrator", password=secured.passwords["orchestrator"]
    )
    # Events of all kinds are written here by whoever may do everything; the doorkeeper has its own rights only.
    door = Doorkeeper(own, EventLog(own), tokens=TOKENS, seed=secured.issuer_seed, stay_seconds=stay_seconds)
    await door.open()
    await own.flush()
    made = Street(secured, root, own, EventLog(root), door)
    yield made
    await door.close()
    for client in (*made.guests, own, root):
        if not client.is_closed:
            await client.close()


async def asked(client: Client, subject: str, body: Any = b"", headers: dict[str, str] | None = None) -> bytes | None:
    """The answer to a request; None when there is none."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    try:
        answer = await client.request(subject, content, timeout=0.4, headers=headers)
    except (NatsError, TimeoutError):
        return None
    if (answer.headers or {}).get("Status"):
        return None
    return answer.data


async def settled(client: Client) -> None:
    """Everything that this connection has sent is dealt with, also behind the account's border."""
    for _ in range(3):
        await client.flush()
        await asyncio.sleep(0.05)


__all__ = ["KEY", "TOKENS", "Box", "Street", "asked", "session_permissions", "settled", "street", "token"]

"""The service with a remote behind a sign-in: what tests of both ask for and look at."""

from pathlib import Path
from typing import Any

from runyard_chassis.sealing import PublicKey
from runyard_events import Reply, new_id
from runyard_events.commands import PushSession, SetCredential, credential_context
from runyard_events.subjects import session_subject

from .conftest import Running, import_of
from .remote_servers import TOKEN, USER, GitServer


def admin(service: Running, tenant: str | None = None) -> dict[str, str]:
    token = service.tokens.mint(tenant=tenant or service.tenant, user="root", role="admin")
    return {"Authorization": f"Bearer {token}"}


async def sign_in(
    service: Running, host: str, secret: str = TOKEN, *, identifier: str = "c1", username: str = USER
) -> Reply:
    key = (await service.http.get("/credentials/key", headers=admin(service))).json()["public_key"]
    context = credential_context(service.tenant, identifier, host.lower(), username)
    sealed = PublicKey(key).seal(secret, context=context)
    return await service.ask(SetCredential(credential_id=identifier, host=host, username=username, secret=sealed))


def host_of(server: GitServer) -> str:
    return server.url.removeprefix("http://")


async def imported(service: Running, server: GitServer, source: Path, *, signed_in: bool = True) -> str:
    if signed_in:
        assert (await sign_in(service, host_of(server))).ok
    workspace = new_id()
    reply = await service.ask(import_of(server.add("org/repo", source), workspace, "git"))
    assert reply.ok, reply.problem
    return workspace


async def push(service: Running, workspace: str, session: str, **more: str) -> Reply:
    return await service.ask(PushSession(workspace_id=workspace, session_id=session, **more))


async def said(service: Running, session: str) -> list[Any]:
    events = await service.events(session_subject(service.tenant, session, "effect"))
    assert [one.event.seq for one in events] == list(range(1, len(events) + 1))
    return [one.event.payload for one in events][1:]


async def worked(service: Running, server: GitServer, repository: Path) -> tuple[str, str]:
    """A workspace, and a session that has a file to push."""
    workspace = await imported(service, server, repository)
    session, path = await service.open_session(workspace)
    (path / "a.txt").write_text("a\n")
    return workspace, session

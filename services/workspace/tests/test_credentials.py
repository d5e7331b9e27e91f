"""What a team signs in with: kept sealed, used where it belongs, seen nowhere."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from nats.js import JetStreamContext
from sqlalchemy import text

from runyard_chassis import Database
from runyard_chassis.sealing import PublicKey
from runyard_events import Scope, new_id
from runyard_events.catalogue import (
    CredentialRemoved,
    CredentialSet,
)
from runyard_events.commands import (
    FetchWorkspace,
    OpenPullRequest,
    RemoveCredential,
    SetCredential,
    credential_context,
)
from runyard_workspace.settings import Settings

from .conftest import Running, import_of
from .remote_servers import TOKEN, USER, GitServer, git_server
from .remote_service import admin, host_of, push, sign_in, worked


async def test_a_private_repository_is_imported_with_the_team_s_credential(
    remote: Running, server: GitServer, repository: Path
) -> None:
    address = server.add("org/repo", repository)
    refused = await remote.ask(import_of(address, new_id(), "git"))
    assert refused.problem
    assert refused.problem.type == "import-auth-required"
    assert (await sign_in(remote, host_of(server))).ok
    workspace = new_id()
    reply = await remote.ask(import_of(address, workspace, "git"))
    assert reply.ok, reply.problem
    config = (remote.root / workspace / "repo" / ".git" / "config").read_text()
    assert address in config
    assert "credential" not in config


async def test_a_credential_is_given_to_its_own_host_and_no_other(
    remote: Running, server: GitServer, repository: Path, tmp_path: Path
) -> None:
    """Neither to a host that has none stored, nor to one that an own host leads to."""
    address = server.add("org/repo", repository)
    with git_server(tmp_path / "other") as other:
        assert (await sign_in(remote, host_of(other))).ok
        refused = await remote.ask(import_of(address, new_id(), "git"))
        assert refused.problem
        assert set(server.asked) == {None}
        other.redirect = server.url
        refused = await remote.ask(import_of(f"{other.url}/org/repo.git", new_id(), "git"))
        assert refused.problem
    assert set(server.asked) == {None}


async def test_another_team_s_credential_is_not_used(remote: Running, server: GitServer, repository: Path) -> None:
    address = server.add("org/repo", repository)
    assert (await sign_in(remote, host_of(server))).ok
    refused = await remote.ask(import_of(address, new_id(), "git"), tenant=new_id())
    assert refused.problem
    assert refused.problem.type == "import-auth-required"


async def test_credentials_are_listed_without_their_secret_replaced_and_removed(remote: Running) -> None:
    async def listed(tenant: str | None = None) -> list[dict[str, Any]]:
        answer = await remote.http.get("/credentials", headers=admin(remote, tenant))
        assert answer.status_code == 200
        return answer.json()["items"]

    await sign_in(remote, "GitHub.com", identifier="a")
    await sign_in(remote, "example.com:8443", identifier="b")
    await sign_in(remote, "github.com", "another-secret-entirely", identifier="a", username="robot")
    shown = [{name: one[name] for name in ("credential_id", "host", "username")} for one in await listed()]
    assert shown == [
        {"credential_id": "b", "host": "example.com:8443", "username": USER},
        {"credential_id": "a", "host": "github.com", "username": "robot"},
    ]
    assert await listed(new_id()) == []
    for _ in range(2):
        assert (await remote.ask(RemoveCredential(credential_id="a"))).ok
    assert [one["credential_id"] for one in await listed()] == ["b"]
    events = await remote.events(Scope.team(remote.tenant).subject("effect"))
    assert [type(one.event.payload) for one in events] == [
        CredentialSet,
        CredentialSet,
        CredentialSet,
        CredentialRemoved,
    ]
    assert [one.event.seq for one in events] == [1, 2, 3, 4]


async def test_only_admins_see_credentials_and_get_the_key(remote: Running) -> None:
    for path in ("/credentials", "/credentials/key"):
        assert (await remote.http.get(path, headers=remote.headers())).status_code == 403
        assert (await remote.http.get(path)).status_code == 401


@pytest.mark.parametrize(
    ("host", "username", "secret"),
    [
        ("https://github.com", USER, TOKEN),
        ("github.com/org", USER, TOKEN),
        ("", USER, TOKEN),
        ("host:99999", USER, TOKEN),
        ("github.com", "", TOKEN),
        ("github.com", "a\nb", TOKEN),
        ("github.com", USER, ""),
        ("github.com", USER, "a\nhost=evil.example"),
    ],
)
async def test_what_cannot_be_a_credential_is_refused(remote: Running, host: str, username: str, secret: str) -> None:
    refused = await sign_in(remote, host, secret, username=username)
    assert refused.problem
    assert refused.problem.type == "credential-refused"
    assert await remote.events(Scope.team(remote.tenant).subject("effect")) == []


async def test_a_secret_sealed_for_something_else_is_refused(remote: Running) -> None:
    key = (await remote.http.get("/credentials/key", headers=admin(remote))).json()["public_key"]
    for context in (
        "",
        credential_context(new_id(), "c1", "github.com", USER),
        credential_context(remote.tenant, "c1", "x.com", USER),
    ):
        sealed = PublicKey(key).seal(TOKEN, context=context)
        refused = await remote.ask(SetCredential(credential_id="c1", host="github.com", username=USER, secret=sealed))
        assert refused.problem
        assert refused.problem.type == "credential-refused"


async def test_the_secret_is_in_no_event_command_row_file_or_log_line(
    *,
    remote: Running,
    settings: Settings,
    server: GitServer,
    repository: Path,
    jetstream: JetStreamContext,
    capfd: pytest.CaptureFixture[str],
) -> None:
    workspace, session = await worked(remote, server, repository)
    assert (await remote.ask(OpenPullRequest(workspace_id=workspace, session_id=session, title="A title"))).ok
    assert (await remote.ask(FetchWorkspace(workspace_id=workspace))).ok
    server.token = "changed"
    assert not (await push(remote, workspace, session, branch="b")).ok
    stored = [one.data.decode() async for one in remote.log.replay("ev.>")]
    assert stored
    assert not any(TOKEN in one for one in stored)
    for stream in ("COMMANDS", "DLQ"):
        info = await jetstream.stream_info(stream)
        for seq in range(info.state.first_seq, info.state.last_seq + 1):
            try:
                message = await jetstream.get_msg(stream, seq)
            except Exception:  # noqa: BLE001, S112 - it has been worked off
                continue
            assert TOKEN not in (message.data or b"").decode()
    assert not await asyncio.to_thread(_files_with, remote.root, TOKEN.encode())
    database = Database(settings.database_url, "workspace")
    async with database.session() as db:
        for table in ("workspaces", "worktrees", "run_checkpoints", "credentials"):
            rows = (await db.execute(text(f"SELECT row_to_json(t) FROM {table} t"))).all()  # noqa: S608 - our own
            assert TOKEN not in json.dumps([list(row) for row in rows])
    await database.close()
    out, err = capfd.readouterr()
    assert TOKEN not in out + err


def _files_with(root: Path, wanted: bytes) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file() and wanted in path.read_bytes()]

"""`cmd.workspace.import`: what stands in the log and on disk afterwards."""

import threading
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client

from runyard_events import Scope, Writer, new_id
from runyard_events.catalogue import WorkspaceImported, WorkspaceImportRequested
from runyard_events.subjects import workspace_subject
from runyard_workspace.settings import Settings

from .conftest import Running, git, import_of, make_repository, running, serve_dumb
from .servers import raw_server, response, static_server


async def lifecycle(service: Running, workspace: str) -> list[Any]:
    stored = await service.events(workspace_subject(service.tenant, workspace, "lifecycle"))
    return [one.event for one in stored]


def left(service: Running) -> list[Path]:
    return [path for path in service.root.rglob("*") if path.name not in (".staging", ".scratch")]


def leave_stale(folder: Path) -> Path:
    """What an attempt leaves behind when its process is killed."""
    (folder / "repo").mkdir(parents=True)
    Path(f"{folder}.lock").touch()
    return folder


async def test_an_import_is_requested_told_and_done_with_numbers_that_have_no_gap(
    service: Running, repository: Path
) -> None:
    workspace = await service.import_local(repository)
    stored = await service.events(workspace_subject(service.tenant, workspace, "*"))
    events = [one.event for one in stored]
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert events[0].type == "workspace.import_requested"
    assert {event.type for event in events[1:-1]} == {"workspace.import_progress"}
    done = events[-1].payload
    assert isinstance(done, WorkspaceImported)
    assert Path(done.local_path) == service.root / workspace / "repo"
    assert (Path(done.local_path) / "README.md").exists()
    assert (done.default_branch, done.head_commit) == ("main", git(repository, "rev-parse", "HEAD"))


@pytest.mark.parametrize(
    ("status", "reason"),
    [("401 Unauthorized", "auth_required"), ("404 Not Found", "not_found"), ("500 Oops", "failed")],
)
async def test_a_failed_import_is_an_event_with_its_reason_and_leaves_nothing(
    service: Running, status: str, reason: str
) -> None:
    workspace = new_id()
    async with raw_server(response(status, 'WWW-Authenticate: Basic realm="x"')) as address:
        reply = await service.ask(import_of(address, workspace, "git"))
    assert not reply.ok
    assert reply.problem
    assert reply.problem.type == f"import-{reason.replace('_', '-')}"
    failed = (await lifecycle(service, workspace))[-1]
    assert (failed.type, failed.payload.reason) == ("workspace.import_failed", reason)
    assert reply.seq
    assert left(service) == []


async def test_an_empty_repository_is_an_event_too(service: Running, tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "empty")
    workspace = new_id()
    reply = await service.ask(import_of(str(tmp_path / "empty"), workspace))
    assert reply.problem
    assert reply.problem.type == "import-empty"
    assert (await lifecycle(service, workspace))[-1].payload.reason == "empty"


@pytest.mark.parametrize(
    "uri",
    ["https://ada:canary-secret@host/o/r", "ext::sh -c canary-secret", "--upload-pack=canary-secret", "https://host"],
)
async def test_a_refused_address_leaves_no_event_and_no_trace_of_its_secret(service: Running, uri: str) -> None:
    workspace = new_id()
    reply = await service.ask(import_of(uri, workspace, "git"))
    assert reply.problem
    assert (reply.problem.status, reply.problem.type) == (422, "import-refused-url")
    assert "canary-secret" not in reply.model_dump_json()
    assert await service.events("ev.>") == []


async def test_the_workspaces_themselves_cannot_be_imported(service: Running, repository: Path, tmp_path: Path) -> None:
    workspace = await service.import_local(repository)
    (tmp_path / "link").symlink_to(service.root / workspace / "repo")
    for path in (service.root / workspace / "repo", service.root, tmp_path / "link"):
        reply = await service.ask(import_of(str(path), new_id()))
        assert reply.problem
        assert reply.problem.type == "import-refused-url"


async def test_only_the_configured_folders_are_imported_from(
    settings: Settings, nats_client: Client, tenant: str, repository: Path, tmp_path: Path
) -> None:
    allowed = make_repository(tmp_path / "allowed" / "one")
    (tmp_path / "allowed" / "link").symlink_to(repository)
    limited = settings.model_copy(update={"local_import_roots": (tmp_path / "allowed",)})
    async with running(limited, nats_client, tenant) as service:
        assert (await service.ask(import_of(str(allowed), new_id()))).ok
        for path in (repository, tmp_path / "allowed" / "link"):
            reply = await service.ask(import_of(str(path), new_id()))
            assert reply.problem
            assert reply.problem.type == "import-refused-url"


def test_production_imports_from_no_folder_unless_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JWT_SECRET_KEY", "k" * 40)
    monkeypatch.setenv("ENVIRONMENT", "production")
    assert Settings().local_roots == ()
    monkeypatch.setenv("LOCAL_IMPORT_ROOTS", "/srv/git, /home")
    monkeypatch.setenv("IMPORT_SCHEMES", "https,ssh")
    assert Settings().local_roots == (Path("/srv/git"), Path("/home"))
    assert Settings().import_schemes == ("https", "ssh")


async def test_the_same_import_again_is_answered_from_the_log(service: Running, repository: Path) -> None:
    workspace = new_id()
    first = await service.ask(import_of(str(repository), workspace, request_hash="h1"))
    again = await service.ask(import_of(str(repository), workspace, request_hash="h1"))
    assert (again.ok, again.result, again.seq) == (first.ok, first.result, first.seq)
    other = await service.ask(import_of(str(repository), workspace, request_hash="h2"))
    assert other.problem
    assert (other.problem.status, other.problem.type) == (422, "idempotency-key-reused")
    assert len(await lifecycle(service, workspace)) == 2


async def test_a_failed_import_stays_failed_when_asked_again(service: Running, tmp_path: Path) -> None:
    workspace = new_id()
    await service.ask(import_of(str(tmp_path / "later"), workspace))
    make_repository(tmp_path / "later")
    again = await service.ask(import_of(str(tmp_path / "later"), workspace))
    assert again.problem
    assert again.problem.type == "import-not-found"
    assert len(await lifecycle(service, workspace)) == 2


async def test_a_long_import_is_answered_first_and_ends_as_an_event(
    settings: Settings, nats_client: Client, tenant: str, repository: Path, tmp_path: Path
) -> None:
    gate = threading.Event()
    quick = settings.model_copy(update={"import_reply_seconds": 0.05})
    async with running(quick, nats_client, tenant) as service:
        workspace = new_id()
        with static_server(serve_dumb(repository, tmp_path / "www"), gate=gate) as address:
            reply = await service.ask(import_of(f"{address}/repo.git", workspace, "git"))
            assert reply.ok
            assert reply.result["status"] == "importing"
            gate.set()
            async for stored in service.log.follow(workspace_subject(tenant, workspace, "lifecycle"), from_seq=1):
                if stored.event.type != "workspace.import_requested":
                    assert stored.event.type == "workspace.imported"
                    break


async def test_an_import_that_was_requested_but_never_ended_is_carried_out(service: Running, repository: Path) -> None:
    """As after a kill: the request stands in the log, a staging folder is left, the command comes again."""
    workspace = new_id()
    writer = Writer(service.log, scope=Scope.workspace(service.tenant, workspace), source="workspace")
    await writer.append(WorkspaceImportRequested(source_type="local", source_uri=str(repository), display_name="a/b"))
    stale = leave_stale(service.root / ".staging" / f"{workspace}.00000000")
    reply = await service.ask(import_of(str(repository), workspace))
    assert reply.ok, reply.problem
    assert [event.type for event in await lifecycle(service, workspace)] == [
        "workspace.import_requested",
        "workspace.imported",
    ]
    assert not stale.exists()


async def test_stale_folders_are_swept_at_the_start(settings: Settings, nats_client: Client, tenant: str) -> None:
    for parent in (".staging", ".scratch"):
        leave_stale(settings.workspaces_root / parent / "x.12345678")
    async with running(settings, nats_client, tenant) as service:
        assert left(service) == []


async def test_a_size_limit_stops_an_import_with_its_reason(
    settings: Settings, nats_client: Client, tenant: str, tmp_path: Path
) -> None:
    source = make_repository(tmp_path / "big", {f"f{n}": b"\0" * 1024**2 for n in range(4)})
    small = settings.model_copy(update={"import_max_mib": 1})
    async with running(small, nats_client, tenant) as service:
        workspace = new_id()
        reply = await service.ask(import_of(str(source), workspace))
        assert reply.problem
        assert reply.problem.type == "import-too-large"
        assert left(service) == []

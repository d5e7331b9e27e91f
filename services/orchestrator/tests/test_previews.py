"""Previews on real processes: from the wish to the page that answers, and back to nothing."""

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from nats.aio.client import Client
from sqlalchemy import delete, select

from runyard_chassis import Database, Service
from runyard_events import Command, CommandBus, EventLog, Reply, StoredEvent, new_id
from runyard_events.catalogue import (
    PreviewFailed,
    PreviewPrepared,
    PreviewReady,
    PreviewStarting,
    PreviewStopped,
    SandboxLogged,
    SandboxStats,
)
from runyard_events.commands import (
    ControlPreview,
    CreatePreview,
    DeleteSession,
    DetectProject,
    OpenPreviewTree,
    RemovePreviewTree,
    RevokeShare,
    SharePreview,
)
from runyard_orchestrator.preview_app import PROCESSES, Previewing
from runyard_orchestrator.settings import Settings
from runyard_orchestrator.store.preview_tables import previews
from runyard_orchestrator.store.previews import PREVIEW_EVENTS, PreviewRows, apply_previews
from runyard_orchestrator.store.tables import SCHEMA, container_environments
from runyard_sandbox.process import ProcessProvisioner, ProcessSettings
from runyard_sandbox.provisioner import PREVIEW_LIMITS, Spec

from .conftest import World, serving
from .peers import FakeRunner, FakeWorkspace

SERVE = 'exec python3 -m http.server "$PORT" --bind "$HOST"'


class PreviewWorkspace(FakeWorkspace):
    """Has one folder for all previews, and says of it what a test wants to be found in it."""

    def __init__(self, client: Client, log: EventLog, folder: Path) -> None:
        super().__init__(client, log)
        self.folder = folder
        self.candidates: list[dict[str, Any]] = []
        self.commit = "c0ffee"

    async def _handle(self, command: Command[Any]) -> None:
        match command.payload:
            case DetectProject():
                result: dict[str, Any] = {"path": str(self.folder), "candidates": self.candidates}
            case OpenPreviewTree(branch=branch):
                result = {"path": str(self.folder), "branch": branch or "main", "commit": self.commit}
            case RemovePreviewTree():
                result = {}
            case _:
                await super()._handle(command)
                return
        await self._bus.reply(command, Reply(ok=True, result=result))


@dataclass
class Previewer:
    """A world in which previews are asked for."""

    world: World
    workspace: PreviewWorkspace
    processes: ProcessProvisioner

    async def create(self, **fields: Any) -> str:
        values: dict[str, Any] = {"preview_id": new_id(), "workspace_id": self.world.workspace_id, **fields}
        asked = CreatePreview.model_validate(values)
        reply = await self.world.ask(asked)
        assert reply.ok, reply.problem
        return asked.preview_id

    async def control(self, preview: str, action: Any) -> Reply:
        return await self.world.ask(ControlPreview(preview_id=preview, action=action))

    def _subject(self, preview: str, family: str) -> str:
        return f"ev.{self.world.tenant}.preview.{preview}.{family}"

    async def told(self, preview: str) -> list[Any]:
        return [one.event.payload async for one in self.world.log.replay(self._subject(preview, "lifecycle"))]

    async def types(self, preview: str) -> list[str]:
        return [payload.TYPE.removeprefix("preview.") for payload in await self.told(preview)]

    async def until(self, preview: str, kind: type[Any], count: int = 1) -> Any:
        async with asyncio.timeout(40):
            async for stored in self.world.log.follow(self._subject(preview, "lifecycle"), from_seq=1):
                if isinstance(stored.event.payload, kind):
                    count -= 1
                    if not count:
                        return stored.event.payload
        raise AssertionError

    async def said(self, preview: str, pattern: str) -> StoredEvent:
        async with asyncio.timeout(20):
            async for stored in self.world.log.follow(self._subject(preview, "telemetry"), from_seq=1):
                payload = stored.event.payload
                if isinstance(payload, SandboxLogged) and re.search(pattern, "\n".join(payload.lines)):
                    return stored
        raise AssertionError

    async def measured(self, preview: str) -> SandboxStats:
        async with asyncio.timeout(20):
            async for stored in self.world.log.follow(self._subject(preview, "telemetry"), from_seq=1):
                if isinstance(stored.event.payload, SandboxStats):
                    return stored.event.payload
        raise AssertionError

    async def vanish(self, name: str) -> None:
        """Gone at once, as far as the service can see: a deletion would show it as ended for a moment."""
        root = self.world.settings.agents_root
        elsewhere = root / "elsewhere"
        elsewhere.mkdir()
        (root / PROCESSES / name).rename(elsewhere / name)
        away = ProcessProvisioner(ProcessSettings(folder=elsewhere))
        await away.delete(name)
        await away.close()

    async def gone(self, name: str) -> None:
        async with asyncio.timeout(20):
            while await self.processes.find(name) is not None:  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.05)


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    return settings.model_copy(update={"agents_root": tmp_path / "agents", "reconcile_seconds": 0.5})


@pytest.fixture
async def around(
    settings: Settings, nats_client: Client, event_log: EventLog, tenant: str, tmp_path: Path
) -> AsyncIterator[Previewer]:
    """Everything but the service."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "index.html").write_text("<p>hello</p>")
    workspace, runner = PreviewWorkspace(nats_client, event_log, folder), FakeRunner(nats_client, event_log)
    workspace_id = new_id()
    await workspace.imported(tenant, workspace_id)
    processes = ProcessProvisioner(ProcessSettings(folder=settings.agents_root / PROCESSES))
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(workspace.queue.running())
        await stack.enter_async_context(runner.queue.running())
        world = World(settings, event_log, CommandBus(nats_client), workspace, runner, tenant, workspace_id)
        yield Previewer(world, workspace, processes)
        for one in await processes.list():
            await processes.delete(one.name)
        await processes.close()


@pytest.fixture
async def previewer(around: Previewer) -> AsyncIterator[Previewer]:
    """The service and its neighbours, running."""
    async with serving(around.world.settings):
        yield around


async def _page(address: str) -> str:
    async with httpx.AsyncClient(trust_env=False) as client:
        return (await client.get(f"http://{address}/")).text


async def test_a_preview_is_prepared_started_and_answers_on_a_port_of_its_own(previewer: Previewer) -> None:
    preview = await previewer.create(command=SERVE, branch="feature")
    ready = await previewer.until(preview, PreviewReady)
    assert await previewer.types(preview) == ["requested", "prepared", "starting", "ready"]
    requested, prepared, starting, _ = await previewer.told(preview)
    assert (requested.branch, prepared.branch, prepared.framework) == ("feature", "feature", "command")
    assert 5000 <= starting.port <= 8999
    assert (starting.method, starting.generation) == ("process", 1)
    assert ready.address == f"127.0.0.1:{starting.port}"
    assert await _page(ready.address) == "<p>hello</p>"
    await previewer.said(preview, r'"GET / HTTP/1.1" 200')


async def test_two_previews_have_two_ports(previewer: Previewer) -> None:
    ready = [
        await previewer.until(one, PreviewReady)
        for one in (await previewer.create(command=SERVE), await previewer.create(command=SERVE))
    ]
    assert len({one.address for one in ready}) == 2


async def test_what_was_found_is_installed_once_and_served(previewer: Previewer) -> None:
    (previewer.workspace.folder / "web").mkdir()
    (previewer.workspace.folder / "web/index.html").write_text("<p>web</p>")
    previewer.workspace.candidates = [
        {"framework": "dockerfile", "name": "Dockerfile", "install": None, "serve": "", "folder": "", "needs_image": 1},
        {
            "framework": "x",
            "name": "X",
            "install": "echo installing; sleep 0",
            "serve": SERVE,
            "folder": "web",
            "needs_image": False,
        },
    ]
    preview = await previewer.create()
    ready = await previewer.until(preview, PreviewReady)
    assert await _page(ready.address) == "<p>web</p>"
    await previewer.said(preview, "installing")


@pytest.mark.parametrize(
    ("candidate", "reason", "code", "said"),
    [
        ({"serve": "echo boom; echo worse >&2; exit 3"}, "exited", 3, {"boom", "worse"}),
        ({"install": "echo no such package; false", "serve": SERVE}, "build_failed", 97, {"no such package"}),
    ],
)
async def test_a_preview_that_does_not_come_up_says_why_with_its_last_lines(
    previewer: Previewer, candidate: dict[str, Any], reason: str, code: int, said: set[str]
) -> None:
    found = {"framework": "x", "name": "X", "install": None, "folder": "", "needs_image": False, **candidate}
    previewer.workspace.candidates = [found]
    preview = await previewer.create()
    failed: PreviewFailed = await previewer.until(preview, PreviewFailed)
    assert (failed.reason, failed.exit_code) == (reason, code)
    assert said <= set(failed.log_tail)
    await previewer.gone(f"runyard-preview-{preview}-1")
    await previewer.said(preview, said.pop())


@pytest.mark.parametrize("framework", [None, "nextjs"])
async def test_files_that_nobody_knows_how_to_serve_are_no_preview(previewer: Previewer, framework: str | None) -> None:
    failed = await previewer.until(await previewer.create(framework=framework), PreviewFailed)
    assert failed.reason == "not_detected"
    assert "$PORT" in failed.message


async def test_a_preview_is_stopped_started_restarted_and_deleted(previewer: Previewer) -> None:
    preview = await previewer.create(command=SERVE)
    first = await previewer.until(preview, PreviewReady)
    await previewer.control(preview, "stop")
    assert (await previewer.until(preview, PreviewStopped)).reason == "user"
    await previewer.gone(f"runyard-preview-{preview}-1")
    assert (await previewer.control(preview, "stop")).ok
    await previewer.control(preview, "start")
    assert (await previewer.until(preview, PreviewReady, 2)).address == first.address
    await previewer.control(preview, "restart")
    third = await previewer.until(preview, PreviewReady, 3)
    assert third.generation == 3
    await previewer.gone(f"runyard-preview-{preview}-2")
    await previewer.control(preview, "delete")
    await previewer.gone(f"runyard-preview-{preview}-3")
    await previewer.workspace.queue.got(lambda seen: any(isinstance(one.payload, RemovePreviewTree) for one in seen))
    for action in ("start", "stop"):
        reply = await previewer.control(preview, action)
        assert reply.problem is not None
        assert reply.problem.type == "preview-not-found"
    assert (await previewer.types(preview))[-1] == "deleted"


async def test_previews_go_down_with_the_service_and_come_back_with_it(around: Previewer) -> None:
    async with serving(around.world.settings):
        preview = await around.create(command=SERVE)
        await around.until(preview, PreviewReady)
    assert (await around.until(preview, PreviewStopped)).reason == "shutdown"
    assert await around.processes.list() == []
    async with serving(around.world.settings):
        assert (await around.until(preview, PreviewReady, 2)).generation == 2


async def test_a_restarted_service_finds_its_previews_and_starts_none_twice(around: Previewer) -> None:
    around.world.settings = around.world.settings.model_copy(update={"preview_outlive": True})
    async with serving(around.world.settings):
        preview = await around.create(command=SERVE)
        ready = await around.until(preview, PreviewReady)
        before = await around.processes.find(f"runyard-preview-{preview}-1")
    async with serving(around.world.settings) as service:
        await _passed(service)
        assert await around.types(preview) == ["requested", "prepared", "starting", "ready"]
        after = await around.processes.find(f"runyard-preview-{preview}-1")
        assert before is not None
        assert after is not None
        assert before.native_id == after.native_id
        assert await _page(ready.address) == "<p>hello</p>"


async def test_what_belongs_to_no_preview_is_removed(around: Previewer) -> None:
    name = f"runyard-preview-{new_id()}-1"
    spec = Spec(
        name=name,
        purpose="preview",
        tenant_id=around.world.tenant,
        owner_id=new_id(),
        epoch=1,
        image=None,
        command=("sleep", "600"),
        limits=PREVIEW_LIMITS,
    )
    await around.processes.provision(spec)
    async with serving(around.world.settings):
        await around.gone(name)


async def test_previews_that_are_over_cost_the_engines_nothing(
    around: Previewer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(around.world.settings) as service:
        over = [await around.create(framework="none"), await around.create(command=SERVE)]
        await around.until(over[0], PreviewFailed)
        await around.until(over[1], PreviewReady)
        await around.control(over[1], "delete")
        await around.gone(f"runyard-preview-{over[1]}-1")
        keeper, asked = service.app.state.previews.keeper, list[Sequence[str]]()
        await _passed(service)
        original = keeper.boxes.named

        async def named(names: Sequence[str]) -> Any:
            asked.append(names)
            return await original(names)

        monkeypatch.setattr(keeper.boxes, "named", named)
        async with asyncio.timeout(30):
            while True:  # the deleted one may be looked at once more: its process has just ended
                asked.clear()
                await _passed(service)
                if not asked:
                    break
        for _ in range(3):
            await _passed(service)
        assert not asked


async def test_previews_in_use_come_before_those_that_are_over(around: Previewer) -> None:
    async with serving(around.world.settings):
        await around.until(await around.create(framework="none"), PreviewFailed)
        used = await around.create(command=SERVE)
        await around.until(used, PreviewReady)
        database = Database(around.world.settings.database_url, SCHEMA)
        found = await PreviewRows(database).to_be_looked_after(1, datetime.now(UTC) - timedelta(days=1))
        await database.close()
    assert [key.preview_id for key in found] == [used]


async def test_a_preview_that_vanishes_is_reported_and_brought_back(previewer: Previewer) -> None:
    preview = await previewer.create(command=SERVE)
    await previewer.until(preview, PreviewReady)
    await previewer.vanish(f"runyard-preview-{preview}-1")
    assert (await previewer.until(preview, PreviewFailed)).reason == "vanished"
    assert (await previewer.until(preview, PreviewReady, 2)).generation == 2


async def test_a_server_that_ends_later_has_failed(previewer: Previewer) -> None:
    preview = await previewer.create(command=SERVE)
    await previewer.until(preview, PreviewReady)
    port = (await previewer.until(preview, PreviewStarting)).port
    await previewer.processes.exec(f"runyard-preview-{preview}-1", ("pkill", "-f", f"http.server {port}"))
    failed = await previewer.until(preview, PreviewFailed)
    assert failed.reason == "exited"


async def test_a_preview_follows_its_branch(around: Previewer) -> None:
    around.world.settings = around.world.settings.model_copy(update={"preview_health_seconds": 0.3})
    async with serving(around.world.settings):
        preview = await around.create(command=SERVE, branch="feature")
        await around.until(preview, PreviewReady)
        around.workspace.commit = "decaf"
        second = await around.until(preview, PreviewReady, 2)
        assert second.generation == 2
        prepared = [one for one in await around.told(preview) if isinstance(one, PreviewPrepared)]
        assert [one.commit for one in prepared] == ["c0ffee", "decaf"]


async def test_a_deleted_session_s_preview_is_stopped(previewer: Previewer) -> None:
    session = await previewer.world.session()
    preview = await previewer.create(session_id=session, command=SERVE)
    await previewer.until(preview, PreviewReady)
    await previewer.world.ask(DeleteSession(session_id=session))
    assert (await previewer.until(preview, PreviewStopped)).reason == "session_deleted"
    await previewer.gone(f"runyard-preview-{preview}-1")
    reply = await previewer.control(preview, "start")
    assert reply.problem is not None
    assert reply.problem.type == "session-deleted"


async def test_the_same_key_is_the_same_preview_and_another_request_with_it_is_refused(previewer: Previewer) -> None:
    preview = await previewer.create(command=SERVE, idempotency_key="k", request_hash="h")
    assert await previewer.create(preview_id=preview, command=SERVE, request_hash="h") == preview
    other = CreatePreview(preview_id=preview, workspace_id=previewer.world.workspace_id, request_hash="other")
    reply = await previewer.world.ask(other)
    assert reply.problem is not None
    assert reply.problem.type == "idempotency-key-reused"
    await previewer.until(preview, PreviewStarting)


@pytest.mark.parametrize("fields", [{"workspace_id": new_id()}, {"session_id": new_id()}])
async def test_files_of_nobody_cannot_be_shown(previewer: Previewer, fields: dict[str, str]) -> None:
    values = {"preview_id": new_id(), "workspace_id": previewer.world.workspace_id, **fields}
    reply = await previewer.world.ask(CreatePreview.model_validate(values))
    assert reply.problem is not None
    assert reply.problem.status == 404


async def test_links_are_shared_and_revoked(previewer: Previewer) -> None:
    preview, share = await previewer.create(command=SERVE), new_id()
    later = datetime.now(UTC) + timedelta(hours=1)
    for _ in range(2):
        assert (await previewer.world.ask(SharePreview(preview_id=preview, share_id=share, expires_at=later))).ok
    past = SharePreview(preview_id=preview, share_id=new_id(), expires_at=later - timedelta(hours=2))
    assert not (await previewer.world.ask(past)).ok
    for _ in range(2):
        assert (await previewer.world.ask(RevokeShare(preview_id=preview, share_id=share))).ok
    assert not (await previewer.world.ask(RevokeShare(preview_id=preview, share_id=new_id()))).ok
    told = [one for one in await previewer.types(preview) if "share" in one]
    assert told == ["shared", "share_revoked"]


async def test_another_team_s_preview_is_not_there(previewer: Previewer) -> None:
    preview = await previewer.create(command=SERVE)
    reply = await previewer.world.ask(ControlPreview(preview_id=preview, action="delete"), tenant=new_id())
    assert reply.problem is not None
    assert reply.problem.type == "preview-not-found"


async def test_the_last_lines_are_to_be_had(around: Previewer) -> None:
    async with serving(around.world.settings) as service, around.world.http(service) as client:
        preview = await around.create(command=f"echo one; echo two >&2; {SERVE}")
        await around.until(preview, PreviewReady)
        lines = (await client.get(f"/previews/{preview}/logs")).json()["lines"]
        assert [(one["text"], one["stream"]) for one in lines][:2] == [("one", "stdout"), ("two", "stderr")]
        assert (await client.get(f"/previews/{new_id()}/logs")).status_code == 404


async def test_what_it_uses_is_told_and_to_be_had(around: Previewer) -> None:
    async with serving(around.world.settings) as service, around.world.http(service) as client:
        preview = await around.create(command=SERVE)
        await around.until(preview, PreviewReady)
        stats = await around.measured(preview)
        assert stats.memory_bytes > 1024**2
        usage = (await client.get(f"/previews/{preview}/stats")).json()
        assert usage["memory_bytes"] > 1024**2
        assert (await client.get(f"/previews/{new_id()}/stats")).status_code == 404
        await around.control(preview, "stop")
        await around.until(preview, PreviewStopped)
        answer = await client.get(f"/previews/{preview}/stats")
        assert (answer.status_code, answer.json()["type"]) == (409, "preview-not-running")


async def test_dropped_and_replayed_the_rows_come_out_the_same(around: Previewer) -> None:
    async with serving(around.world.settings) as service:
        preview = await around.create(command=SERVE)
        await around.until(preview, PreviewReady)
        later = datetime.now(UTC) + timedelta(hours=1)
        await around.world.ask(SharePreview(preview_id=preview, share_id=new_id(), expires_at=later))
        await around.until(await around.create(framework="none"), PreviewFailed)
        await around.control(preview, "stop")
        await around.until(preview, PreviewStopped)
        newest = [one async for one in around.world.log.replay(PREVIEW_EVENTS)][-1]
        assert await service.app.state.previews.projector.reached(newest.stream_seq)
    database = Database(around.world.settings.database_url, SCHEMA)
    try:
        tables = (previews, container_environments)
        before = [await _rows(database, table) for table in tables]
        async with database.session() as db, db.begin():
            for table in tables:
                await db.execute(delete(table))
            await apply_previews(db, [one async for one in around.world.log.replay(PREVIEW_EVENTS)])
        assert [await _rows(database, table) for table in tables] == before
        assert len(before[0]) == 2
    finally:
        await database.close()


async def _rows(database: Database, table: Any) -> list[Any]:
    async with database.session() as db:
        return sorted((await db.execute(select(table))).all(), key=repr)


async def _passed(service: Service) -> None:
    """Two looks at everything have been taken."""
    previewing: Previewing = service.app.state.previews
    for _ in range(2):
        await previewing.keeper.once()

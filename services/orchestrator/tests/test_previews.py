"""Previews on real processes: from the wish to the page that answers, and back to nothing."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import delete, select

from runyard_chassis import Database
from runyard_events import Redactor, new_id
from runyard_events.catalogue import PreviewFailed, PreviewReady, PreviewStopped
from runyard_events.commands import DeleteSession, RemovePreviewTree, SharePreview
from runyard_orchestrator.adapters.preview_boxes import PreviewBoxes
from runyard_orchestrator.adapters.way_out import WayOut
from runyard_orchestrator.domain.preview import Preview
from runyard_orchestrator.handlers.preview_logs import PreviewLogs
from runyard_orchestrator.store.preview_tables import previews
from runyard_orchestrator.store.previews import PREVIEW_EVENTS, PreviewKey, apply_previews
from runyard_orchestrator.store.tables import SCHEMA, container_environments

from .conftest import serving
from .previewers import SERVE, Previewer, around, page_at, previewer, settings

__all__ = ["around", "previewer", "settings"]


async def test_a_preview_is_prepared_started_and_answers_on_a_port_of_its_own(previewer: Previewer) -> None:
    preview = await previewer.create(command=SERVE, branch="feature")
    ready = await previewer.until(preview, PreviewReady)
    assert await previewer.types(preview) == ["requested", "prepared", "starting", "ready"]
    requested, prepared, starting, _ = await previewer.told(preview)
    assert (requested.branch, prepared.branch, prepared.framework) == ("feature", "feature", "command")
    assert 5000 <= starting.port <= 8999
    assert (starting.method, starting.generation) == ("process", 1)
    assert ready.address == f"127.0.0.1:{starting.port}"
    assert await page_at(ready.address) == "<p>hello</p>"
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
    assert await page_at(ready.address) == "<p>web</p>"
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


async def test_a_preview_that_floods_is_read_in_its_turn(around: Previewer) -> None:
    async def lines() -> AsyncIterator[str]:
        for number in range(12_000):
            yield f"line {number}"

    key = PreviewKey(around.world.tenant, new_id())
    logs = PreviewLogs(around.world.log, PreviewBoxes({}, {}, WayOut("")), Redactor())
    await logs.build(key, Preview(status="starting", generation=1), lines())
    told = await around.logged(key.preview_id)
    assert told[0].lines[0] == "line 0"
    assert max(one.dropped for one in told) <= 5000
    assert sum(len(one.lines) + one.dropped for one in told) == 12_000


async def test_the_last_lines_are_to_be_had(around: Previewer) -> None:
    async with serving(around.world.settings) as service, around.world.http(service) as client:
        preview = await around.create(command=f"echo one; echo two >&2; {SERVE}")
        await around.until(preview, PreviewReady)
        lines = (await client.get(f"/previews/{preview}/logs")).json()["lines"]
        # Two pipes: in which order they are read nobody says.
        assert {(one["text"], one["stream"]) for one in lines} >= {("one", "stdout"), ("two", "stderr")}
        assert (await client.get(f"/previews/{new_id()}/logs")).status_code == 404


async def test_what_it_uses_is_told_and_to_be_had(around: Previewer) -> None:
    async with serving(around.world.settings) as service, around.world.http(service) as client:
        preview = await around.create(command=SERVE)
        await around.until(preview, PreviewReady)
        await around.measured(preview, memory_bytes=1024**2)
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
        before = [await rows_of(database, table) for table in tables]
        async with database.session() as db, db.begin():
            for table in tables:
                await db.execute(delete(table))
            await apply_previews(db, [one async for one in around.world.log.replay(PREVIEW_EVENTS)])
        assert [await rows_of(database, table) for table in tables] == before
        assert len(before[0]) == 2
    finally:
        await database.close()


async def rows_of(database: Database, table: Any) -> list[Any]:
    async with database.session() as db:
        return sorted((await db.execute(select(table))).all(), key=repr)

"""Every projection, dropped and rebuilt from the log, has the very rows that it had."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Table, select

from runyard_chassis import Database
from runyard_events.catalogue import (
    PreviewDeleted,
    PreviewFailed,
    PreviewRequested,
    PreviewShared,
    PreviewShareRevoked,
    PreviewStopped,
    RunApprovalRequested,
    RunApprovalResolved,
    RunCancelled,
    RunCancelRequested,
    RunDispatched,
    RunError,
    RunResumed,
    SandboxDeleted,
    SandboxError,
    SandboxPaused,
    SandboxStopped,
    SessionDeleted,
    SessionFailed,
    ToolResult,
    WorkspaceImportFailed,
)
from runyard_events.log import EventLog
from runyard_gateway.app import PACKAGE, build_projectors
from runyard_gateway.projections import tables

from .conftest import Story
from .histories import (
    call,
    checkpoint,
    completed,
    contained,
    imported,
    measured,
    opened,
    previewed,
    requested,
    ruled,
    worked,
)


async def tell_everything(story: Story) -> None:
    """Each kind of event that leaves a row, in an order that exercises what must not change afterwards."""
    ws, failed_ws = str(uuid4()), str(uuid4())
    await story.tell(story.workspace(ws), *imported(), source="workspace")
    failure = WorkspaceImportFailed(reason="not_found", message="no\x00thing")
    await story.tell(story.workspace(failed_ws), imported()[0], failure, source="workspace")
    sessions = [str(uuid4()) for _ in range(3)]
    for one in sessions:
        await story.tell(story.session(one), *opened(ws))
    await story.tell(story.session(sessions[1]), SessionDeleted())
    await story.tell(story.session(sessions[2]), SessionFailed(reason="worktree", message="full"))
    asked = RunApprovalRequested(
        approval_id="a1",
        ask_kind="question",
        title="Which \x00one?",
        detail={"nul": "\x00", "deep": [{"x": "\x00"}]},
        options=("accept", "decline"),
        fingerprint="f",
    )
    answer = RunApprovalResolved(approval_id="a1", decision="accept", answers={"q": "yes"})
    ends = [
        completed(),
        (RunError(reason="runner_lost", message="gone"),),
        (RunCancelRequested(), RunCancelled(duration_ms=5)),
        (),
    ]
    for number, end in enumerate(ends):
        scope = story.run(sessions[0], str(uuid4()))
        await story.tell(scope, *requested(ws, f"prompt {number} \x00 ünï"))
        output = ToolResult(tool_name="sh", output="binary \x00 \U0001f600")
        await story.tell(scope, *worked(sessions[0], words=20), output, asked, source="runner-codex.1")
        if number % 2:
            second = RunResumed(runner_id="r2", attempt=2, reason="died")
            await story.tell(scope, answer, second, source="runner-codex.2")
        await story.tell(scope, call(), call(None), call(0.5, "other"), source="llm-gateway.1")
        await story.tell(scope, *end, source="end")
        await story.tell(scope, checkpoint(), source="workspace")
        await story.tell(scope, RunResumed(runner_id="late", attempt=9, reason="a zombie"), source="zombie")
    await tell_of_containers(story, sessions, ws)


async def tell_of_containers(story: Story, sessions: list[str], ws: str) -> None:
    failed = SandboxError(epoch=1, reason="exited", message="no\x00use", exit_code=3, log_tail=("x\x00y", "last words"))
    ends = [
        (failed, *contained(2), SandboxPaused(epoch=2, reason="user")),
        (SandboxStopped(epoch=1, reason="idle"),),
        (SandboxDeleted(epoch=1, reason="user"),),
    ]
    for session, end in zip(sessions, ends, strict=True):
        await story.tell(story.session(session), *contained(), measured(), *end, source="orchestrator.sandbox")
    failed = PreviewFailed(generation=1, reason="build_failed", message="no\x00thing", log_tail=("a\x00b",))
    for end in ((), (failed,), (PreviewStopped(generation=1, reason="user"), PreviewDeleted())):
        await story.tell(story.preview(str(uuid4())), *previewed(ws, sessions[0]), *end, source="orchestrator.preview")
    shares = [
        PreviewShared(share_id=str(uuid4()), expires_at=datetime.now(UTC) + timedelta(hours=hours)) for hours in (1, 2)
    ]
    revoked = PreviewShareRevoked(share_id=shares[0].share_id)
    again = PreviewRequested(workspace_id=ws, requested_by="ada")
    await story.tell(story.preview(str(uuid4())), *previewed(ws), *shares, revoked, revoked, again, *previewed(ws))
    await story.tell(story.team(), ruled("packages.example"), ruled("example.org", "*.example.com"))
    scope = story.run(sessions[0], str(uuid4()))
    back = RunDispatched(runner_type="codex", method="process", reason="create_failed")
    await story.tell(scope, requested(ws)[0], RunDispatched(runner_type="codex", method="docker"), back)


async def project(story: Story, database: Database, log: EventLog, client: Any) -> dict[str, list[dict[str, Any]]]:
    """Both projections run to the log's end; all their rows."""
    end = max([one.stream_seq async for one in log.replay("ev.>")])
    projectors = build_projectors(log, client, database)
    tasks = [asyncio.create_task(one.run()) for one in projectors]
    for one in projectors:
        await one.caught_up.wait()
    assert end
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    async with database.session() as session:
        found: dict[str, list[dict[str, Any]]] = {}
        for table in (*tables.STATE, *tables.ARCHIVE):
            rows = (await session.execute(select(table).order_by(*table.primary_key))).mappings().all()
            found[table.name] = [dict(row) for row in rows]
    return found


async def drop(database: Database, *dropped: Table) -> None:
    async with database.transaction() as session:
        for table in (*dropped, tables.checkpoints):
            await session.execute(table.delete())


@pytest.mark.parametrize("pieces", [1, 7])
async def test_rows_are_the_same_after_a_rebuild(
    story: Story, database_url: str, event_log: EventLog, nats_client: Any, pieces: int
) -> None:
    database = Database(database_url, "gateway")
    await database.migrate(PACKAGE)
    live: dict[str, list[dict[str, Any]]] = {}
    for _ in range(pieces):
        await tell_everything(story)
        live = await project(story, database, event_log, nats_client)
    await drop(database, *tables.STATE, *tables.ARCHIVE)
    rebuilt = await project(story, database, event_log, nats_client)
    assert rebuilt == live
    assert [row["status"] for row in live["runs"]].count("running") == 2 * pieces
    assert {row["method"] for row in live["runs"]} == {"process"}
    assert [row["status"] for row in live["container_environments"]].count("paused") == pieces
    assert [row["rules"]["egress"] for row in live["sandbox_rules"]] == [["example.org", "*.example.com"]]
    assert {row["attempt"] for row in live["runs"] if row["status"] == "completed"} == {1}
    assert all(live.values())
    # Nothing was passed over: the dead letters are empty.
    assert (await nats_client.jetstream().stream_info("DLQ")).state.messages == 0
    await database.close()


async def test_the_migrations_make_what_the_tables_say_and_can_be_taken_back(database_url: str) -> None:
    database = Database(database_url, "gateway")
    await database.migrate(PACKAGE)
    assert await database.drift(PACKAGE, tables.metadata) == []
    await database.downgrade(PACKAGE, "-1")
    await database.migrate(PACKAGE)
    assert await database.drift(PACKAGE, tables.metadata) == []
    await database.close()

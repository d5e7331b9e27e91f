"""What is asked about previews more than once, by strangers, or about files of nobody."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from runyard_events import Scope, Writer, new_id
from runyard_events.catalogue import Payload, PreviewStarting, WorkspaceFetched, WorkspaceSyncFailed
from runyard_events.commands import ControlPreview, CreatePreview, CreateSession, RevokeShare, SharePreview
from runyard_orchestrator.store.tables import SCHEMA
from runyard_stack.testing_rows import rows_held

from .previewers import SERVE, Previewer, around, previewer, settings

__all__ = ["around", "previewer", "settings"]


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


@pytest.mark.parametrize(
    "latest",
    [WorkspaceFetched(branches={"main": "c0ffee"}), WorkspaceSyncFailed(reason="timeout", message="silent")],
    ids=lambda event: event.TYPE,
)
async def test_a_workspace_that_follows_its_remote_can_be_shown(previewer: Previewer, latest: Payload) -> None:
    world = previewer.world
    scope = Scope.workspace(world.tenant, world.workspace_id)
    await Writer(world.log, scope=scope, source="workspace", next_seq=2).append(latest)
    await previewer.create(command=SERVE)


async def test_a_session_is_shown_from_the_moment_on_that_the_log_says_it_is_ready(previewer: Previewer) -> None:
    world, session = previewer.world, new_id()
    world.workspace.is_open.clear()
    asked = CreateSession(session_id=session, workspace_id=world.workspace_id, runner_type="codex")
    made = asyncio.create_task(world.ask(asked))
    await world.workspace.queue.got(bool)
    async with rows_held(world.settings.database_url.get_secret_value(), SCHEMA, "orchestrator-sessions"):
        world.workspace.is_open.set()
        await world.seen(session, "session.ready")
        shown = asyncio.create_task(previewer.create(session_id=session, command=SERVE))
        await asyncio.wait({shown}, timeout=0.5)
    await shown
    await made


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

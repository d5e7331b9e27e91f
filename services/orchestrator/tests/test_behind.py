"""What is asked for while the rows are behind the log: that it is so already is said of now, not of before."""

import asyncio
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from typing import Any

from runyard_events import Redactor, new_id
from runyard_events.commands import ControlPreview
from runyard_orchestrator.adapters.ledger import Cause
from runyard_orchestrator.adapters.preview_ledger import PreviewLedger
from runyard_orchestrator.domain.preview import control
from runyard_orchestrator.handlers.preview_desk import PreviewDesk
from runyard_orchestrator.preview_app import Previewing
from runyard_orchestrator.settings import Settings
from runyard_orchestrator.store.previews import PreviewKey
from runyard_orchestrator.store.tables import SCHEMA
from runyard_stack.testing_rows import rows_held

from .conftest import serving
from .previewers import SERVE, Previewer, around
from .yards import Yard, yard

__all__ = ["around", "yard"]


async def _begun_behind(behind: AsyncExitStack, work: Coroutine[Any, Any, Any]) -> Any:
    """What comes of this when it is begun while the rows are held, and goes on when they are not any more."""
    begun = asyncio.create_task(work)
    await asyncio.wait({begun}, timeout=0.5)
    await behind.aclose()
    return await begun


def held(settings: Settings, projection: str) -> Any:
    return rows_held(settings.database_url.get_secret_value(), SCHEMA, projection)


async def test_a_container_that_has_ended_just_now_is_started_when_somebody_asks_for_it(yard: Yard) -> None:
    async with yard.serving(), AsyncExitStack() as behind:
        session = await yard.world.session()
        assert (await yard.control(session, "start")).result["status"] == "running"
        await behind.enter_async_context(held(yard.settings, "orchestrator-sandboxes"))
        yard.engine.kill(yard.name(session), exit_code=1)
        await yard.world.seen(session, "sandbox.error")
        reply = await _begun_behind(behind, yard.control(session, "start"))
        assert (reply.result["status"], reply.result["epoch"]) == ("running", 2)


async def test_a_preview_that_another_replica_has_just_started_is_stopped_when_somebody_asks_for_it(
    around: Previewer,
) -> None:
    async with serving(around.world.settings) as service, AsyncExitStack() as behind:
        preview = await around.create(command=SERVE)
        await around.control(preview, "stop")
        one: Previewing = service.app.state.previews
        key = PreviewKey(around.world.tenant, preview)
        other = PreviewDesk(PreviewLedger(around.world.log, Redactor()), one.desk.rows, one.projector)

        def wish(action: Any, desk: PreviewDesk) -> Coroutine[Any, Any, Any]:
            asked = ControlPreview(preview_id=preview, action=action)
            return desk.decide(key, lambda seen: control(seen, asked, "ada", has_files=True), Cause(new_id()))

        await behind.enter_async_context(held(around.world.settings, "orchestrator-previews"))
        await wish("start", one.desk)
        stopped = await _begun_behind(behind, wish("stop", other))
        assert (stopped.status, (await around.types(preview))[-1]) == ("stopped", "stopped")

"""The end of previews with this service: of processes always, of containers when all of the installation goes down."""

import asyncio
import contextlib
from datetime import UTC, datetime

from runyard_events import derived_id
from runyard_events.catalogue import PreviewStopped
from runyard_orchestrator.adapters.leadership import Leadership
from runyard_orchestrator.adapters.ledger import Cause
from runyard_orchestrator.adapters.preview_boxes import PreviewBoxes
from runyard_orchestrator.adapters.rest_file import RestFile
from runyard_orchestrator.domain.preview import ACTIVE, Preview
from runyard_orchestrator.domain.preview_upkeep import Box
from runyard_orchestrator.handlers.preview_desk import PreviewDesk
from runyard_orchestrator.store.previews import PreviewKey

_MOST = 10_000
_SECONDS = 4.0
_CONTAINERS_SECONDS = 8.0


class PreviewShutdown:
    """What is stopped here comes back by itself at the next start."""

    def __init__(self, desk: PreviewDesk, boxes: PreviewBoxes, leadership: Leadership, rest: RestFile) -> None:
        self._desk = desk
        self._boxes = boxes
        self._leadership = leadership
        self._rest = rest

    async def at_the_start(self) -> None:
        """Says of containers that they were ended with the installation, if nobody could say so then.

        Raises:
            LogUnavailable, Problem, one of DATABASE_FAULTS: it cannot be said now.
        """
        if not self._rest.is_there:
            return
        for key in await self._desk.rows.to_be_looked_after(_MOST, datetime.now(UTC)):
            preview = await self._desk.preview(key)
            if preview.status in ("starting", "ready") and preview.method != "process":
                await self._say(key)

    async def at_the_end(self) -> None:
        """Ends them, once nobody looks after them."""
        if not await self._leadership.held():
            return
        every = self._rest.is_there
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CONTAINERS_SECONDS if every else _SECONDS):
                found = await self._boxes.all()
                ending = [
                    self._end(key, box)
                    for key, boxes in found.items()
                    for box in boxes
                    if every or box.method == "process"
                ]
                await asyncio.gather(*ending, return_exceptions=True)

    async def _end(self, key: PreviewKey, box: Box) -> None:
        await self._say(key)
        await self._boxes.remove(box)

    async def _say(self, key: PreviewKey) -> None:
        def decide(preview: Preview) -> tuple[PreviewStopped, ...]:
            if preview.status not in ACTIVE:
                return ()
            return (PreviewStopped(generation=preview.generation, reason="shutdown"),)

        await self._desk.decide(key, decide, Cause(derived_id("shutdown", key.tenant_id, key.preview_id)))

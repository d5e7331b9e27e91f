"""What previews print, as events: one reader per running preview, at most so many lines a second."""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator

import structlog

from runyard_events import EventError, EventLog, Redactor, Scope, Writer
from runyard_events.tasks import end_tasks
from runyard_orchestrator.adapters.preview_boxes import PreviewBoxes
from runyard_orchestrator.domain.facts import OWNER
from runyard_orchestrator.domain.preview import Preview
from runyard_orchestrator.handlers.gathering import Gathered
from runyard_orchestrator.store.previews import PreviewKey

logger = structlog.get_logger(__name__)

_GATHER_SECONDS = 0.25
_FIRST_LINES = 1000
_LAST_SECONDS = 2.0


class PreviewLogs:
    """Follows the output of previews that run here."""

    def __init__(self, log: EventLog, boxes: PreviewBoxes, redactor: Redactor) -> None:
        self._log = log
        self._boxes = boxes
        self._redactor = redactor
        self._followed: dict[PreviewKey, tuple[str, asyncio.Task[None]]] = {}

    def attend(self, key: PreviewKey, preview: Preview, *, begun: bool) -> None:
        """Follows the preview's container from now on, or no more. `begun`: just now, so from its first line on."""
        name = preview.container
        known = self._followed.get(key)
        if name is None or (known is not None and known[0] == name):
            # One that has ended is read to its last line before its task ends by itself.
            return
        lines = self._boxes.follow(preview, tail=_FIRST_LINES if begun else 0)
        task = asyncio.create_task(self._follow(key, preview, lines))
        self._followed[key] = name, task
        task.add_done_callback(lambda done: self._ended(key, done))

    async def close(self) -> None:
        """Follows none any more."""
        await end_tasks(*(task for _, task in self._followed.values()))

    def _ended(self, key: PreviewKey, task: asyncio.Task[None]) -> None:
        known = self._followed.get(key)
        if known is not None and known[1] is task:
            del self._followed[key]
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.warning("preview.logs_lost", preview_id=key.preview_id, error=repr(error))

    async def build(self, key: PreviewKey, preview: Preview, lines: AsyncIterator[str]) -> None:
        """Tells what the build of its image prints, until that has ended; raises what the lines raise."""
        await self._follow(key, preview, lines)

    async def _follow(self, key: PreviewKey, preview: Preview, lines: AsyncIterator[str]) -> None:
        gathered = Gathered()
        telling = asyncio.create_task(self._tell(key, preview, gathered))
        try:
            async for line in lines:
                gathered.add(line)
                await gathered.room.wait()
        finally:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LAST_SECONDS):
                    await gathered.told.wait()
            await end_tasks(telling)

    async def _tell(self, key: PreviewKey, preview: Preview, gathered: Gathered) -> None:
        # A name of its own for each reader, whose numbers begin anew: a preview has several, one after the other.
        source = f"{OWNER}.preview.{preview.generation}.{uuid.uuid4().hex[:8]}"
        writer = Writer(
            self._log, scope=Scope.preview(key.tenant_id, key.preview_id), source=source, redactor=self._redactor
        )
        while True:
            await gathered.there.wait()
            with contextlib.suppress(EventError):
                await writer.append(gathered.take())
            if not gathered.there.is_set():
                gathered.told.set()
            await asyncio.sleep(_GATHER_SECONDS)

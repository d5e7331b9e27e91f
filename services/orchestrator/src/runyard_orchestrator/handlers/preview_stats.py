"""What previews use, as events: one reader per running preview, told as seldom as of sessions' containers."""

import asyncio
import contextlib
import time
from dataclasses import dataclass

import structlog

from runyard_events import EventError, Scope
from runyard_events.tasks import end_tasks
from runyard_orchestrator.adapters.preview_boxes import PreviewBoxes
from runyard_orchestrator.domain.measures import is_worth_telling
from runyard_orchestrator.domain.preview import Preview
from runyard_orchestrator.handlers.telemetry import Reports, measured
from runyard_orchestrator.store.previews import PreviewKey
from runyard_sandbox import SandboxFault, Stats

logger = structlog.get_logger(__name__)

_FRESH_SECONDS = 10.0


@dataclass(slots=True)
class _Watched:
    name: str
    task: asyncio.Task[None] | None = None
    stats: Stats | None = None
    stats_at: float = 0.0


class PreviewStats:
    """Measures the previews that run here."""

    def __init__(self, boxes: PreviewBoxes, reports: Reports) -> None:
        self._boxes = boxes
        self._reports = reports
        self._watched: dict[PreviewKey, _Watched] = {}

    def attend(self, key: PreviewKey, preview: Preview) -> None:
        """Measures the preview's container until it has ended; again whenever that broke off."""
        name, known = preview.container, self._watched.get(key)
        if name is None or (known is not None and known.name == name):
            return
        if known is not None and known.task is not None:
            known.task.cancel()
        watched = self._watched[key] = _Watched(name)
        watched.task = asyncio.create_task(self._measure(key, preview, watched))
        watched.task.add_done_callback(lambda _: self._ended(key, watched))

    def latest(self, key: PreviewKey) -> Stats | None:
        """What it used a moment ago, if this process measures it."""
        watched = self._watched.get(key)
        fresh = watched is not None and time.monotonic() - watched.stats_at < _FRESH_SECONDS
        return watched.stats if watched is not None and fresh else None

    async def close(self) -> None:
        """Measures none any more."""
        await end_tasks(*(watched.task for watched in self._watched.values() if watched.task is not None))

    def _ended(self, key: PreviewKey, watched: _Watched) -> None:
        if self._watched.get(key) is watched:
            del self._watched[key]

    async def _measure(self, key: PreviewKey, preview: Preview, watched: _Watched) -> None:
        scope, told = Scope.preview(key.tenant_id, key.preview_id), None
        try:
            async for now in self._boxes.stats(preview):
                watched.stats, watched.stats_at = now, time.monotonic()
                if is_worth_telling(told, now):
                    told = now
                    with contextlib.suppress(EventError):
                        await self._reports.say(scope, measured(now))
        except (SandboxFault, OSError) as error:
            logger.info("preview.measures_interrupted", preview_id=key.preview_id, error=str(error))
        except Exception:
            logger.exception("preview.measures_failed", preview_id=key.preview_id)

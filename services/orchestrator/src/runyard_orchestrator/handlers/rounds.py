"""When each of many is looked at: as soon as it is woken or after a while, and never twice at the same time."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import structlog

from runyard_events.tasks import end_tasks
from runyard_orchestrator.store.previews import PreviewKey
from runyard_orchestrator.store.reading import SessionKey

logger = structlog.get_logger(__name__)

K = TypeVar("K", SessionKey, PreviewKey)

_AGAIN_SECONDS = 1.0
_LONGEST_PAUSE = 30.0


class Rounds(Generic[K]):
    """`look` is awaited in a task of its own for each that is due, and sees to its own faults."""

    def __init__(self, look: Callable[[K], Awaitable[None]]) -> None:
        self._look = look
        self._due: set[K] = set()
        self._awake = asyncio.Event()
        self._at_work: dict[K, asyncio.Task[None]] = {}
        self._timers: dict[K, asyncio.TimerHandle] = {}
        self._pauses: dict[K, float] = {}

    def wake(self, *keys: K) -> None:
        """Look at these; at one that is being looked at once more after that."""
        self._due.update(keys)
        self._awake.set()

    def later(self, key: K, seconds: float) -> None:
        """Look at this one after a while, unless it is woken before.

        One timer per key: those that wait would otherwise become more with every look.
        """
        self._cancel_timer(key)
        self._timers[key] = asyncio.get_running_loop().call_later(seconds, self.wake, key)

    def postpone(self, key: K) -> None:
        """A look at this one has failed: again after a second, and longer each time until one goes well."""
        pause = self._pauses.get(key, _AGAIN_SECONDS)
        self._pauses[key] = min(pause * 2, _LONGEST_PAUSE)
        self.later(key, pause)

    def went_well(self, key: K) -> None:
        """A look at this one has not failed."""
        self._pauses.pop(key, None)

    async def run(self) -> None:
        """Looks at whatever is due until cancelled; then all looks have ended."""
        try:
            while True:
                await self._awake.wait()
                self._awake.clear()
                for key in sorted(self._due - self._at_work.keys()):
                    self._begin(key)
        finally:
            for timer in self._timers.values():
                timer.cancel()
            await end_tasks(*self._at_work.values())

    def _begin(self, key: K) -> None:
        self._due.discard(key)
        self._cancel_timer(key)
        task = asyncio.ensure_future(self._look(key))
        self._at_work[key] = task
        task.add_done_callback(lambda task: self._ended(key, task))

    def _ended(self, key: K, task: asyncio.Task[None]) -> None:
        self._at_work.pop(key, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("look.failed", of=str(key), exc_info=error)
        if key in self._due:
            self._awake.set()

    def _cancel_timer(self, key: K) -> None:
        if (timer := self._timers.pop(key, None)) is not None:
            timer.cancel()

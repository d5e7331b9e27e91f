"""Decide about a preview and write, until it holds."""

import asyncio
from collections.abc import Callable
from weakref import WeakValueDictionary

from runyard_chassis import Unavailable
from runyard_events import Conflict, Projector
from runyard_orchestrator.adapters.ledger import Cause
from runyard_orchestrator.adapters.preview_ledger import PreviewLedger
from runyard_orchestrator.domain.facts import Refusal
from runyard_orchestrator.domain.preview import Decision, Preview
from runyard_orchestrator.handlers.refusals import refused
from runyard_orchestrator.store.previews import PreviewKey, PreviewRows

Decide = Callable[[Preview], Decision]
_TRIES = 8
_CATCH_UP_SECONDS = 5.0
_REMEMBERED = 4096


class PreviewDesk:
    """In one process, decisions about a preview are made one at a time."""

    def __init__(self, ledger: PreviewLedger, rows: PreviewRows, projector: Projector) -> None:
        self.rows = rows
        self._ledger = ledger
        self._projector = projector
        self._locks: WeakValueDictionary[PreviewKey, asyncio.Lock] = WeakValueDictionary()
        self._written: dict[PreviewKey, Preview] = {}

    async def preview(self, key: PreviewKey) -> Preview:
        """The newest that is known: the rows may not show yet what this process wrote."""
        stored, written = await self.rows.preview(key), self._written.get(key)
        return written if written is not None and written.stream_seq > stored.stream_seq else stored

    async def decide(self, key: PreviewKey, decide: Decide, cause: Cause) -> Preview:
        """Decides and appends, again and again until nobody was faster; returns the preview as it is then.

        That it is refused, or so already, is said only after the rows were seen to be as new as the log.

        Raises:
            Problem: it is refused, or the projection is behind.
            LogUnavailable: the log is away.
        """
        lock = self._locks.setdefault(key, asyncio.Lock())
        async with lock:
            is_newest = False
            for _ in range(_TRIES):
                preview = await self.preview(key)
                decision = decide(preview)
                if (isinstance(decision, Refusal) or not decision) and not is_newest:
                    await self._reach(await self._ledger.stands_at(key))
                    is_newest = True
                    continue
                if isinstance(decision, Refusal):
                    raise refused(decision)
                try:
                    for payload in decision:
                        preview = await self._ledger.write(key, preview, payload, cause)
                        self._remember(key, preview)
                except Conflict as conflict:
                    self._written.pop(key, None)
                    await self._reach(conflict.last.stream_seq if conflict.last is not None else 0)
                    is_newest = False
                    continue
                return preview
        raise Unavailable("The preview is changing too fast to decide about it.", type="too-much-at-once")

    async def _reach(self, place: int) -> None:
        if not await self._projector.reached(place, timeout=_CATCH_UP_SECONDS):
            raise Unavailable("The orchestrator's view of the log is behind.", type="projection-behind")

    def _remember(self, key: PreviewKey, preview: Preview) -> None:
        self._written.pop(key, None)
        self._written[key] = preview
        while len(self._written) > _REMEMBERED:
            del self._written[next(iter(self._written))]

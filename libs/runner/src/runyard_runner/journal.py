"""A run's events on their way into the log, in order, whatever happens to the server meanwhile.

While the log is away the same events are offered again with the same ids. After a silence the log is
asked first which of them it already has: the server forgets ids after two minutes, the log never does.
"""

import asyncio
from collections.abc import Callable, Sequence

import structlog

from runyard_events.catalogue import TERMINAL_TYPES, AnyPayload
from runyard_events.envelope import Envelope
from runyard_events.errors import Conflict, EventError, LogUnavailable
from runyard_events.stored import StoredEvent
from runyard_events.writer import Writer
from runyard_runner.batching import Entry

logger = structlog.get_logger(__name__)


class RunEnded(Exception):
    """Somebody else has ended the run or taken it over: nothing may be appended any more."""


class Journal:
    """The only way of one attempt's events into the log; `last_seq` is the place of the last lifecycle event."""

    def __init__(self, writer: Writer, *, last_seq: int) -> None:
        self.writer = writer
        self.last_seq = last_seq
        self._reached = last_seq
        self._order = asyncio.Lock()

    async def write(self, entries: Sequence[Entry]) -> None:
        """Stamp and append events of the families without compare-and-set; returns when they stand."""
        if not entries:
            return
        async with self._order:
            events = [self._stamp(entry) for entry in entries]
            while events:
                try:
                    self._reached = max(self._reached, await self.writer.write(events))
                except LogUnavailable:
                    logger.warning("log.unavailable", waiting=len(events))
                    events = await self._missing(events)
                except EventError as error:
                    missing = await self._missing(events)
                    if missing and (len(missing) == len(events) or not isinstance(error, Conflict)):
                        self.writer.rewind(missing[0])
                        raise
                    events = missing  # refused as already there
                else:
                    return

    async def lifecycle(
        self,
        payloads: Sequence[AnyPayload],
        *,
        unless: Callable[[StoredEvent], bool] = lambda _: False,
    ) -> bool:
        """Append all or none, the run's owner permitting.

        `payloads` holds the lifecycle event at its end, its twins before it. When somebody else's event came first,
        it is tried again behind that one, `unless` says that it is pointless then (returns False).

        Raises:
            RunEnded: the run has a terminal event, or another runner has taken it up.
        """
        async with self._order:
            events = [self.writer.stamp(payload) for payload in payloads]
            while True:
                appends = [self.writer.place(event) for event in events]
                try:
                    reached = await self.writer.log.append_guarded(
                        appends, guard=appends[-1].subject, expect=self.last_seq
                    )
                except LogUnavailable:
                    logger.warning("log.unavailable", waiting=len(events))
                except Conflict as conflict:
                    last = conflict.last
                    if last is None or last.event.type in TERMINAL_TYPES or self._foreign_start(last.event):
                        self.writer.rewind(events[0])
                        raise RunEnded(str(conflict)) from conflict
                    if unless(last):
                        self.writer.rewind(events[0])
                        return False
                    self.last_seq = last.stream_seq
                else:
                    # The lifecycle event is the last of its batch.
                    self.last_seq = self._reached = reached
                    return True

    def _stamp(self, entry: Entry) -> Envelope:
        event = self.writer.stamp(entry.payload, at=entry.at, causation_id=entry.cause.id if entry.cause else None)
        entry.id = event.id
        return event

    def _foreign_start(self, event: Envelope) -> bool:
        return event.type in {"run.started", "run.resumed"} and event.source != self.writer.source

    async def _missing(self, events: list[Envelope]) -> list[Envelope]:
        scope = self.writer.scope
        kinds = {event.kind for event in events}
        # One filter at most: permissions go by it, and a reader of several subjects names none.
        subject = scope.subject(kinds.pop() if len(kinds) == 1 else ">")
        while True:
            try:
                stored = self.writer.log.replay(subject, from_seq=self._reached + 1)
                there = {one.event.id async for one in stored}
            except LogUnavailable:
                await asyncio.sleep(0.5)  # the reader has no patience of its own
            else:
                return [event for event in events if event.id not in there]

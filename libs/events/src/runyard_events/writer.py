"""The one writer of a (aggregate, source): numbers its events, stamps them, appends them."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from runyard_events.catalogue import AnyPayload
from runyard_events.envelope import Envelope, stamp
from runyard_events.log import Append, EventLog
from runyard_events.redact import Redactor
from runyard_events.subjects import Scope


class Writer:
    """Appends the events of one source about one aggregate, with a gapless `seq`.

    For one task at a time. After `LogUnavailable` repeat the very same envelopes with `write`;
    after `Conflict` give the numbers back with `rewind`, for nothing was written.
    """

    def __init__(
        self,
        log: EventLog,
        *,
        scope: Scope,
        source: str,
        provider: str | None = None,
        next_seq: int = 1,
        correlation_id: str | None = None,
        traceparent: str | None = None,
        redactor: Redactor | None = None,
    ) -> None:
        self.log = log
        self.scope = scope
        self.source = source
        self.next_seq = next_seq
        self._provider = provider
        self._correlation_id = correlation_id
        self._traceparent = traceparent
        self._redactor = redactor

    def stamp(self, payload: AnyPayload, *, at: datetime | None = None, causation_id: str | None = None) -> Envelope:
        """The next event of this source; secrets in it are replaced."""
        if self._redactor is not None:
            payload = self._redactor.clean_payload(payload)
        event = stamp(
            payload,
            scope=self.scope,
            source=self.source,
            seq=self.next_seq,
            provider=self._provider,
            at=at,
            causation_id=causation_id,
            correlation_id=self._correlation_id,
            traceparent=self._traceparent,
        )
        self.next_seq += 1
        return event

    def rewind(self, event: Envelope) -> None:
        """Gives back the number of this event and of all after it: they were not written."""
        self.next_seq = event.seq

    def place(self, event: Envelope, expect: int | None = None) -> Append:
        """The event with the subject that it belongs on."""
        return Append(self.scope.subject(event.kind), event, expect)

    async def append(self, payload: AnyPayload, *, expect: int | None = None) -> int:
        """Stamps and appends one event; returns its stream sequence. Errors as `EventLog.append`."""
        return await self.append_all([payload], expect={payload.FAMILY: expect} if expect is not None else {})

    async def append_all(self, payloads: Sequence[AnyPayload], *, expect: Mapping[str, int] | None = None) -> int:
        """Stamps and appends all or none.

        `expect` maps a family to the sequence that must stand last on its subject; it guards the first
        event of that family in the batch.
        """
        open_guards = dict(expect or {})
        events = [self.stamp(payload) for payload in payloads]
        appends = [self.place(event, open_guards.pop(event.kind, None)) for event in events]
        try:
            return await self.log.append_all(appends)
        except Exception:
            self.rewind(events[0])
            raise

    async def write(self, events: Sequence[Envelope]) -> int:
        """Appends stamped events in order, not necessarily all at once; safe to repeat."""
        return await self.log.append_many([self.place(event) for event in events])

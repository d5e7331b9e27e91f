"""Writes what was decided about previews, each event guarded by what the decision had seen."""

from runyard_events import Append, EventLog, Redactor, Scope, derived_id, stamp
from runyard_events.catalogue import Payload
from runyard_orchestrator.adapters.ledger import Cause
from runyard_orchestrator.domain.facts import OWNER, Fact
from runyard_orchestrator.domain.preview import Preview, evolve
from runyard_orchestrator.store.previews import PreviewKey


class PreviewLedger:
    """The orchestrator's pen for previews."""

    def __init__(self, log: EventLog, redactor: Redactor) -> None:
        self._log = log
        self._redactor = redactor

    async def write(self, key: PreviewKey, preview: Preview, payload: Payload, cause: Cause) -> Preview:
        """Appends one event, if nothing else has been appended about this preview; returns the preview with it.

        Raises:
            Conflict: something has been.
            LogUnavailable: not known whether it was written; deciding again finds out.
        """
        clean = self._redactor.clean_payload(payload)
        scope = Scope.preview(key.tenant_id, key.preview_id)
        event = stamp(
            clean,
            scope=scope,
            source=OWNER,
            seq=preview.own_seq + 1,
            causation_id=cause.id,
            correlation_id=cause.correlation_id,
            traceparent=cause.traceparent,
        )
        # As with sessions: several replicas write as one source, so cause and content make the event, not its number.
        identity = derived_id(scope.aggregate_id, OWNER, event.seq, cause.id, clean.model_dump_json())
        event = event.model_copy(update={"id": identity})
        place = await self._log.append(Append(scope.subject(event.kind), event, preview.stream_seq))
        return evolve(preview, Fact(event.payload, place, event.at, OWNER, event.seq, event.causation_id))

    async def stands_at(self, key: PreviewKey) -> int:
        """The place of the last event about a preview; 0: there is none."""
        last = await self._log.last(Scope.preview(key.tenant_id, key.preview_id).subject("lifecycle"))
        return last.stream_seq if last is not None else 0

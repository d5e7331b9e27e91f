"""Writes what happens to sandboxes and what teams decide about them, each event guarded by what it was decided on."""

from runyard_events import Append, EventLog, Redactor, Scope, derived_id, stamp
from runyard_events.catalogue import AnyPayload, SandboxRules, SandboxRulesChanged
from runyard_orchestrator.adapters.ledger import Cause
from runyard_orchestrator.domain.facts import OWNER, Fact
from runyard_orchestrator.domain.sandbox import SANDBOX_OWNER, Sandbox, evolve
from runyard_orchestrator.store.reading import SessionKey


class SandboxLedger:
    """The orchestrator's pen for sandboxes."""

    def __init__(self, log: EventLog, redactor: Redactor) -> None:
        self._log = log
        self._redactor = redactor

    async def write(self, key: SessionKey, sandbox: Sandbox, payload: AnyPayload, cause: Cause) -> Sandbox:
        """Appends one event, if nothing else has been appended since `sandbox`; returns the sandbox after it.

        Raises:
            Conflict: something has been.
            LogUnavailable: not known whether it was written; deciding again finds out.
        """
        scope = Scope.session(key.tenant_id, key.session_id)
        append = self._stamped(scope, payload, SANDBOX_OWNER, sandbox.own_seq + 1, cause, expect=sandbox.stream_seq)
        place = await self._log.append(append)
        event = append.event
        fact = Fact(event.payload, place, event.at, event.source, event.seq, event.causation_id)
        return evolve(sandbox, fact)

    async def rules(self, tenant: str) -> tuple[SandboxRules | None, int, int]:
        """A team's rules as the log has them, the place of that event and its number.

        Raises:
            LogUnavailable: the log did not answer.
        """
        last = await self._log.last(Scope.team(tenant).subject("lifecycle"))
        if last is None:
            return None, 0, 0
        payload = last.event.payload
        rules = payload.rules if isinstance(payload, SandboxRulesChanged) else None
        return rules, last.stream_seq, last.event.seq

    async def write_rules(self, tenant: str, payload: AnyPayload, cause: Cause, *, place: int, number: int) -> int:
        """Appends a team's decision behind the event at `place`, which has `number`; returns its own place.

        Raises:
            Conflict, LogUnavailable: as `write`.
        """
        append = self._stamped(Scope.team(tenant), payload, OWNER, number + 1, cause, expect=place)
        return await self._log.append(append)

    def _stamped(
        self, scope: Scope, payload: AnyPayload, source: str, seq: int, cause: Cause, *, expect: int
    ) -> Append:
        clean = self._redactor.clean_payload(payload)
        event = stamp(
            clean,
            scope=scope,
            source=source,
            seq=seq,
            causation_id=cause.id,
            correlation_id=cause.correlation_id,
            traceparent=cause.traceparent,
        )
        # As in `Ledger`: of two different events that try for one number only one is written.
        identity = derived_id(scope.aggregate_id, source, seq, cause.id, clean.model_dump_json())
        return Append(scope.subject(event.kind), event.model_copy(update={"id": identity}), expect)

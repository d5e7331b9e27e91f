"""What the log says about a run: a pure fold of its lifecycle events."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime

from runyard_events.catalogue import (
    TERMINAL_TYPES,
    AnyPayload,
    RunApprovalRequested,
    RunApprovalResolved,
    RunCancelRequested,
    RunResumed,
    RunStarted,
    RunThreadBound,
)
from runyard_events.stored import StoredEvent
from runyard_runner.adapter import Decision


@dataclass(frozen=True, slots=True)
class Approval:
    """An ask that stands in the log, answered or not."""

    approval_id: str
    fingerprint: str
    decision: Decision | None = None


@dataclass(frozen=True, slots=True)
class RunState:
    """A run as far as its runner has to know it. `last_seq` is the place of its last lifecycle event (0: none)."""

    last_seq: int = 0
    attempt: int = 0
    runner_id: str | None = None
    native_thread_id: str | None = None
    started_at: datetime | None = None
    cancel: RunCancelRequested | None = None
    terminal: str | None = None
    approvals: dict[str, Approval] = field(default_factory=dict[str, Approval])

    def evolve(self, payload: AnyPayload, seq: int, at: datetime) -> "RunState":  # noqa: PLR0911 - one per event
        """The state after one more lifecycle event."""
        after = replace(self, last_seq=max(seq, self.last_seq))
        match payload:
            case RunStarted() | RunResumed():
                thread = payload.native_thread_id or self.native_thread_id
                return replace(
                    after,
                    attempt=payload.attempt,
                    runner_id=payload.runner_id,
                    native_thread_id=thread,
                    started_at=self.started_at or at,
                )
            case RunThreadBound(native_thread_id=thread):
                return replace(after, native_thread_id=thread)
            case RunCancelRequested():
                return replace(after, cancel=after.cancel or payload)
            case RunApprovalRequested(approval_id=key, fingerprint=fingerprint):
                return replace(after, approvals={**self.approvals, key: Approval(key, fingerprint)})
            case RunApprovalResolved(approval_id=key) if key in self.approvals:
                answered = replace(self.approvals[key], decision=decision_of(payload))
                return replace(after, approvals={**self.approvals, key: answered})
            case _ if payload.TYPE in TERMINAL_TYPES:
                return replace(after, terminal=payload.TYPE)
            case _:
                return after


def decision_of(resolved: RunApprovalResolved) -> Decision:
    """The answer that a resolution carries."""
    return Decision(kind=resolved.decision, answers=resolved.answers, message=resolved.message)


def fold(events: Iterable[StoredEvent], state: RunState | None = None) -> RunState:
    """The state after these lifecycle events."""
    state = state or RunState()
    for stored in events:
        state = state.evolve(stored.event.payload, stored.stream_seq, stored.event.at)
    return state

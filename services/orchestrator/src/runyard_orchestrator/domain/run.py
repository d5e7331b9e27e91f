"""A run as its lifecycle tells it, from the accepted prompt to its one end."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal

from runyard_events.catalogue import (
    Answer,
    Method,
    RunApprovalRequested,
    RunApprovalResolved,
    RunCancelled,
    RunCancelRequested,
    RunCompleted,
    RunDispatched,
    RunError,
    RunRequested,
    RunResumed,
    RunStarted,
    RunThreadBound,
)
from runyard_orchestrator.domain.facts import OWNER, Fact

RunStatus = Literal[
    "absent", "queued", "dispatched", "running", "waiting_approval", "cancelling", "completed", "error", "cancelled"
]
ENDED: frozenset[RunStatus] = frozenset({"completed", "error", "cancelled"})
_REMEMBERED = 32


@dataclass(frozen=True, slots=True)
class Approval:
    """What the agent asked: the answers it takes, and the first one given."""

    options: tuple[Answer, ...]
    decision: Answer | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """A run's state; the prompt itself is kept beside it.

    `handled` are the commands whose events stand in the log already, so that one delivered twice is
    carried out once. `paused_seconds` is the time spent waiting for people: it does not count against
    the time limit.
    """

    status: RunStatus = "absent"
    workspace_id: str = ""
    runner_type: str = ""
    method: Method = "process"
    approval_policy: str = "never"
    model: str | None = None
    time_limit_seconds: int = 3600
    requested_by: str | None = None
    request_hash: str | None = None
    attempt: int = 0
    runner_run_id: str | None = None
    native_thread_id: str | None = None
    error_reason: str | None = None
    approvals: Mapping[str, Approval] = field(default_factory=dict[str, Approval])
    handled: tuple[str, ...] = ()
    created_at: datetime | None = None
    dispatched_at: datetime | None = None
    started_at: datetime | None = None
    cancel_requested_at: datetime | None = None
    waiting_since: datetime | None = None
    paused_seconds: float = 0.0
    completed_at: datetime | None = None
    first_seq: int = 0
    stream_seq: int = 0
    own_seq: int = 0

    @property
    def ended(self) -> bool:
        """Whether the run has its terminal event."""
        return self.status in ENDED

    @property
    def open_approvals(self) -> tuple[str, ...]:
        """Approvals that nobody has answered."""
        return tuple(key for key, approval in self.approvals.items() if approval.decision is None)


def evolve(run: Run, fact: Fact) -> Run:
    """The run after one more event; one that it has seen already changes nothing, and an end stays as it is."""
    if fact.stream_seq <= run.stream_seq:
        return run
    after = replace(run, stream_seq=fact.stream_seq, first_seq=run.first_seq or fact.stream_seq)
    if fact.source == OWNER:
        after = _written_by_us(after, fact)
    if isinstance(fact.payload, RunRequested):
        return _requested(after, fact.payload, fact.at)
    if run.ended or run.status == "absent":
        return after
    return _changed(after, fact)


def _written_by_us(run: Run, fact: Fact) -> Run:
    # The prompt's line of the transcript follows `run.requested` in the same batch; every other batch
    # of ours ends with its lifecycle event, so its number is the last one used.
    trailing = 1 if isinstance(fact.payload, RunRequested) else 0
    handled = run.handled
    if fact.cause and fact.cause not in handled:
        handled = (*handled, fact.cause)[-_REMEMBERED:]
    return replace(run, own_seq=max(run.own_seq, fact.source_seq + trailing), handled=handled)


def _requested(run: Run, requested: RunRequested, at: datetime) -> Run:
    if run.status != "absent":
        return run
    return replace(
        run,
        status="queued",
        workspace_id=requested.workspace_id,
        runner_type=requested.runner_type,
        approval_policy=requested.approval_policy,
        model=requested.model,
        time_limit_seconds=requested.time_limit_seconds,
        requested_by=requested.requested_by,
        request_hash=requested.request_hash,
        created_at=at,
    )


def _changed(run: Run, fact: Fact) -> Run:
    changed = run
    match fact.payload:
        case RunDispatched(method=method) if run.status in ("queued", "dispatched"):
            changed = replace(run, status="dispatched", method=method, dispatched_at=fact.at)
        case RunStarted() | RunResumed():
            changed = _taken(run, fact.payload, fact.at)
        case RunThreadBound(native_thread_id=thread):
            changed = replace(run, native_thread_id=thread)
        case RunCancelRequested():
            changed = replace(run, status="cancelling", cancel_requested_at=run.cancel_requested_at or fact.at)
        case RunApprovalRequested(approval_id=key, options=options) if key not in run.approvals:
            changed = _asked(run, key, options, fact.at)
        case RunApprovalResolved(approval_id=key, decision=decision) if key in run.open_approvals:
            changed = _answered(run, key, decision, fact.at)
        case RunCompleted():
            changed = replace(run, status="completed", completed_at=fact.at)
        case RunCancelled():
            changed = replace(run, status="cancelled", completed_at=fact.at)
        case RunError(reason=reason):
            changed = replace(run, status="error", error_reason=reason, completed_at=fact.at)
        case _:
            pass
    return changed


def _taken(run: Run, taken: RunStarted | RunResumed, at: datetime) -> Run:
    return replace(
        run,
        status=_working_status(run),
        attempt=max(run.attempt, taken.attempt),
        runner_run_id=taken.runner_id,
        native_thread_id=taken.native_thread_id or run.native_thread_id,
        started_at=run.started_at or at,
    )


def _asked(run: Run, key: str, options: tuple[Answer, ...], at: datetime) -> Run:
    asked = replace(run, approvals={**run.approvals, key: Approval(options)})
    return replace(asked, status=_working_status(asked), waiting_since=run.waiting_since or at)


def _answered(run: Run, key: str, decision: Answer, at: datetime) -> Run:
    answered = replace(run, approvals={**run.approvals, key: replace(run.approvals[key], decision=decision)})
    answered = replace(answered, status=_working_status(answered))
    if answered.open_approvals or run.waiting_since is None:
        return answered
    waited = max(0.0, (at - run.waiting_since).total_seconds())
    return replace(answered, waiting_since=None, paused_seconds=run.paused_seconds + waited)


def _working_status(run: Run) -> RunStatus:
    if run.status == "cancelling":
        return "cancelling"
    return "waiting_approval" if run.open_approvals else "running"

"""What is to be done about a run or an errand that has gone quiet. Pure: the clock and the lease are given."""

import math
from dataclasses import dataclass, field
from datetime import datetime

from runyard_events.catalogue import ErrorReason, Payload, RunCancelled, RunError, UiRunCancelled, UiRunError
from runyard_orchestrator.domain.rules import OUR_CONTAINERS
from runyard_orchestrator.domain.run import Run


@dataclass(frozen=True, slots=True)
class Patience:
    """How long each kind of silence is borne, in seconds."""

    lease_grace: float = 60
    cancel_grace: float = 10
    time_limit_margin: float = 60
    start_limit: float = 3600
    session_limit: float = 600
    resend: float = 30
    container_lease_grace: float = 180
    """As `lease_grace`, for runs in containers of ours: one that is replaced takes longer to come back."""


def verdict(run: Run, *, now: datetime, absent_seconds: float | None, patience: Patience) -> tuple[Payload, ...]:
    """The events that end a run which will not end by itself; nothing while there is hope.

    `absent_seconds` is how long nobody has held the run's lease without a break, None when it is held now.
    """
    match run.status:
        case "dispatched" if absent_seconds is not None and _seconds(run.dispatched_at, now) > max(
            patience.start_limit, run.time_limit_seconds
        ):
            return _error("start_failed", "No runner took the run in time.")
        case "cancelling" if (
            absent_seconds is not None
            and absent_seconds >= patience.cancel_grace
            and _seconds(run.cancel_requested_at, now) >= patience.cancel_grace
        ):
            message = "The run was stopped; its runner was gone."
            return (UiRunCancelled(message=message), RunCancelled(reason=message))
        case "running" | "waiting_approval" | "cancelling":
            return _at_work(run, now, absent_seconds, patience)
        case _:
            return ()


def _at_work(run: Run, now: datetime, absent_seconds: float | None, patience: Patience) -> tuple[Payload, ...]:
    if run.method == "external":
        absent_seconds = None  # nobody there holds a lease
    grace = patience.container_lease_grace if run.method in OUR_CONTAINERS else patience.lease_grace
    if absent_seconds is not None and absent_seconds >= grace:
        return _error("runner_lost", "The runner was lost and no other took the run over.")
    worked = _seconds(run.started_at, now) - run.paused_seconds
    if run.status != "waiting_approval" and worked > run.time_limit_seconds + patience.time_limit_margin:
        return _error("time_limit", f"The run took longer than its limit of {run.time_limit_seconds} s.")
    return ()


def resend_number(age_seconds: float, patience: Patience) -> int:
    """Which repetition of an errand is due at this age: 0 none yet, then 1, 2, 3 ... at doubling distances."""
    if age_seconds < patience.resend:
        return 0
    return int(math.log2(age_seconds / patience.resend)) + 1


def _error(reason: ErrorReason, message: str) -> tuple[Payload, ...]:
    return (UiRunError(message=message, reason=reason), RunError(reason=reason, message=message))


def _seconds(since: datetime | None, now: datetime) -> float:
    return 0.0 if since is None else max(0.0, (now - since).total_seconds())


@dataclass(slots=True)
class Absences:
    """Since when each lease has been missing, as this process has seen it without a break.

    Never older than this process or its last reconnection: whoever could not look has seen nothing.
    Times are of a monotonic clock, in seconds.
    """

    _since: dict[str, float] = field(default_factory=dict[str, float])

    def observe(self, run_id: str, *, held: bool, now: float) -> float | None:
        """How long the lease has been missing; None while it is held."""
        if held:
            self._since.pop(run_id, None)
            return None
        return now - self._since.setdefault(run_id, now)

    def forget(self) -> None:
        """Begins anew: there was a time in which nothing could be seen."""
        self._since.clear()

    def keep_only(self, run_ids: set[str]) -> None:
        """Drops what is no longer of interest."""
        self._since = {run_id: since for run_id, since in self._since.items() if run_id in run_ids}

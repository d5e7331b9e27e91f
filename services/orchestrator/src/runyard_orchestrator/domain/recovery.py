"""What becomes of a run when its container fails: another container, a plain process, or the run's end. Pure."""

from datetime import datetime, timedelta

from runyard_events.catalogue import SandboxError, SandboxRequested, SandboxStart
from runyard_orchestrator.domain.situation import (
    FailRun,
    Patience,
    Record,
    Situation,
    Step,
    TakeBack,
    Wait,
    seconds_since,
)

_HOPELESS = frozenset({"image_missing"})
"""Failures that another try does not mend."""
_SET_BACK = timedelta(minutes=2)
"""What counts as the same trouble when the clock does not tell."""
_MOMENT = timedelta(microseconds=1)


def after_failure(at: Situation, now: datetime, patience: Patience) -> Step | None:
    """A run needs a container, and the last one has failed."""
    box, since = at.sandbox, _needed_since(at)
    failures = box.failures_since(since)
    if box.reason == "gave_up" and since is not None and box.changed_at is not None and box.changed_at >= since:
        return conclude(at, box.message or "Its container could not be had.")
    if failures == 0:
        return request(at, box.epoch + 1)
    if box.reason in _HOPELESS or failures > patience.restarts:
        times = "" if failures == 1 else f" {failures} times"
        message = f"The container failed{times}: {box.message}"
        return Record(SandboxError(epoch=box.epoch, reason="gave_up", message=message, exit_code=box.exit_code))
    pause = min(patience.backoff * 2 ** (failures - 1), patience.longest_backoff) - seconds_since(box.changed_at, now)
    is_set_back = box.changed_at is not None and now < box.changed_at
    return Wait(pause) if pause > 0 and not is_set_back else request(at, box.epoch + 1)


def without_engine(at: Situation, now: datetime, patience: Patience, away_seconds: float, why: str) -> Step | None:
    """Nothing is known of any container; but a run does not wait for one for ever.

    Of a run that has begun its lease tells whether it goes on: containers may outlive their engine.
    """
    box, run = at.sandbox, at.run
    if not at.needed or run is None or run.status != "dispatched":
        return None
    since = _needed_since(at)
    if box.reason == "gave_up" and box.changed_at and since and box.changed_at >= since:
        return after_failure(at, now, patience)
    if min(away_seconds, seconds_since(run.dispatched_at, now)) < patience.engine_away:
        return None
    if box.status in ("absent", "deleted", "stopped"):
        return request(at, box.epoch + 1)
    message = f"No container could be had for {patience.engine_away:g} s: {why or 'the engine does not answer'}"
    reason = "gave_up" if box.reason == "engine_away" and box.failures_since(since) else "engine_away"
    return Record(SandboxError(epoch=box.epoch, reason=reason, message=message))


def conclude(at: Situation, message: str) -> Step | None:
    """What becomes of a run whose container cannot be had."""
    run = at.run
    if run is None or at.run_id is None or not at.needed:
        return None
    # A run that has begun in a container has its thread there: elsewhere it would begin anew.
    if run.status == "dispatched" and at.rules.process_fallback:
        return TakeBack(at.run_id, message)
    return FailRun(at.run_id, message)


def request(at: Situation, epoch: int) -> Record:
    """A container is needed: the one of this epoch."""
    run, method, reason = at.run, at.installation.method, _reason(at, epoch)
    if run is None:
        before = "pool" if at.sandbox.status == "absent" else "user"
        return Record(SandboxRequested(epoch=epoch, method=method, purpose=before, reason=reason))
    again = run.status != "dispatched" or at.sandbox.failures_since(_needed_since(at)) > 0
    purpose = "recovery" if again else "run"
    return Record(SandboxRequested(epoch=epoch, method=method, purpose=purpose, reason=reason))


def _reason(at: Situation, epoch: int) -> SandboxStart:
    """Why a container is asked for now."""
    box, run = at.sandbox, at.run
    match box.status:
        case "absent" if run is None:
            return "pool"
        case "error" if box.failures_since(_needed_since(at)):
            return "replaced"
        case "stopped" if run is not None and run.status != "dispatched":
            return "restarted"
        case "requested" | "stopped" if epoch > box.epoch:
            return "renewed"
        case _:
            return "user" if run is None else "prompt"


def _needed_since(at: Situation) -> datetime | None:
    """Since when the run has needed a container, on the clock of the sandbox's events.

    Where the log has it the other way round than the clock, the clock was set back in between.
    """
    run, changed = at.run, at.sandbox.changed_at
    since = run.dispatched_at if run else None
    if run is None or since is None or changed is None:
        return since
    if at.sandbox.stream_seq > run.stream_seq:
        return since if changed >= since else changed - _SET_BACK
    return max(since, changed + _MOMENT) if run.status == "dispatched" else since

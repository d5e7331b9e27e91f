"""What a session's sandbox needs next. Pure: the log, the engine's word and the clock are given.

Levels, not edges: whoever asks gets one step from where things stand to where they should be, does it,
and asks again. Whoever dies between two steps is followed by somebody who finds the next one the same way.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal

from runyard_events.catalogue import SandboxCreating, SandboxDeleted, SandboxError, SandboxStop, SandboxStopped
from runyard_orchestrator.domain.recovery import after_failure, conclude, request, without_engine
from runyard_orchestrator.domain.sandbox import FOR_GOOD, IN_USE, Sandbox
from runyard_orchestrator.domain.situation import (
    Delete,
    Forget,
    Patience,
    Pause,
    Provision,
    Record,
    Resume,
    Situation,
    Start,
    Step,
    Stop,
    container_name,
    seconds_since,
)
from runyard_sandbox import Sandbox as Container

Desired = Literal["running", "paused", "stopped", "archived", "absent", "as_it_is"]


def desired(at: Situation, now: datetime, patience: Patience) -> Desired:
    """How the container should be."""
    if at.gone:
        return "absent"
    if at.occupied:
        # A run that is being cancelled is let come to its end, but gets no new container for it.
        return "running" if at.needed else "as_it_is"
    return _unoccupied(at, now, patience)


def _unoccupied(at: Situation, now: datetime, patience: Patience) -> Desired:
    box = at.sandbox
    wanted: Desired = "absent"
    match box.status:
        case "absent" if at.may_warm and at.rules.enabled and at.session == "ready":
            wanted = "running"
        case "absent" | "deleted" | "error":
            pass
        case "requested" | "creating":
            wanted = "running"
        case "running" | "paused":
            wanted = "stopped" if _stop_reason(at, now) else box.status
        case "stopped":
            old = box.reason in FOR_GOOD or seconds_since(box.changed_at, now) >= patience.archive_after
            wanted = "archived" if old else "stopped"
    return wanted


def next_step(
    at: Situation,
    containers: Sequence[Container] | None,
    *,
    now: datetime,
    patience: Patience,
    away_seconds: float = 0.0,
    away_why: str = "",
) -> Step | None:
    """The next step towards what is desired; None when all is as it should be, or somebody else has to act first.

    `containers` are those of this session as the engine has them, None when it does not answer (then nothing
    is concluded about them); `away_seconds` is how long it has not, `away_why` what was seen instead.
    """
    box, method = at.sandbox, at.installation.method
    if at.gone:
        return _farewell(at, containers)
    if at.run is not None and at.occupied and at.run.method != method:
        return conclude(at, "Containers of this kind are switched off.")
    if box.status in IN_USE and box.method != method:
        return Record(SandboxStopped(epoch=box.epoch, reason="switched_off"))
    if containers is None:
        return without_engine(at, now, patience, away_seconds, away_why)
    former = [one for one in containers if one.epoch < box.epoch]
    if former:
        return Delete(former[0].name)
    current = next((one for one in containers if one.epoch == box.epoch), None)
    return _outlived(at, current, now, patience) or _towards(desired(at, now, patience), at, current, now, patience)


def _towards(
    wanted: Desired, at: Situation, current: Container | None, now: datetime, patience: Patience
) -> Step | None:
    step: Step | None = None
    match wanted:
        case "running":
            step = _towards_running(at, current, now, patience)
        case "paused":
            step = _towards_paused(at, current)
        case "stopped" | "archived":
            step = _towards_rest(at, current, now, archived=wanted == "archived")
        case "absent":
            step = _towards_absence(at, current)
        case "as_it_is":
            pass
    return step


def _towards_running(at: Situation, current: Container | None, now: datetime, patience: Patience) -> Step | None:
    box = at.sandbox
    if (step := _ruled_out(at)) is not None:
        return step
    match box.status:
        case "absent" | "deleted":
            step = request(at, box.epoch + 1)
        case "error":
            step = after_failure(at, now, patience)
        case "stopped":
            again = current is not None and current.status == "stopped" and _is_fresh(at, current, now, patience)
            step = request(at, box.epoch if again else box.epoch + 1)
        case "requested":
            step = _requested(at, current, now, patience)
        case "creating":
            step = Provision(box.epoch, box.name or container_name(at.session_id, box.epoch))
        case "paused" if current is not None and current.status in ("paused", "running"):
            step = Resume(current.name)
        case "running" | "paused":
            step = _expired(at, current, now, patience) or _supervised(box, current)
            step = step or _taking_up(at, current, now, patience)
    return step


def _ruled_out(at: Situation) -> Step | None:
    """The team's rules have another runtime by now, and nothing that has begun would be cut short for it."""
    box = at.sandbox
    if box.runtime == at.rules.runtime:
        return None
    if box.status == "creating":
        return request(at, box.epoch + 1)
    if box.status in ("running", "paused") and (at.run is None or at.run.status == "dispatched"):
        return Record(SandboxStopped(epoch=box.epoch, reason="rules_changed"))
    return None


def _requested(at: Situation, current: Container | None, now: datetime, patience: Patience) -> Step:
    if current is None:
        return _create(at)
    if not _is_fresh(at, current, now, patience):
        return request(at, at.sandbox.epoch + 1)
    return Resume(current.name) if current.status == "paused" else Start(current.name)


def _outlived(at: Situation, current: Container | None, now: datetime, patience: Patience) -> Step | None:
    """Nobody works in it, and nobody will be able to."""
    box = at.sandbox
    at_rest = box.status == "stopped" and box.reason not in FOR_GOOD and current is not None
    is_there = at_rest or box.status in ("running", "paused")
    if at.occupied or not is_there or not _is_expired(at, current, now, patience):
        return None
    return Record(SandboxStopped(epoch=box.epoch, reason="expired"))


def _is_expired(at: Situation, current: Container | None, now: datetime, patience: Patience) -> bool:
    """Whether the container's token opens nothing any more: as the engine was told, or as old as tokens get here."""
    if current is not None and current.expires_at is not None:
        return now >= current.expires_at
    made = at.sandbox.epoch_at
    return made is not None and now - made >= timedelta(seconds=patience.token_lifetime)


def _expired(at: Situation, current: Container | None, now: datetime, patience: Patience) -> Step | None:
    """It could not go on for long: whatever it has open is closed, and whatever it asks is refused."""
    if not _is_expired(at, current, now, patience):
        return None
    message = "The container's token has come to its end."
    error = SandboxError(epoch=at.sandbox.epoch, reason="expired", message=message)
    return Record(error, current.name if current is not None else None)


def _supervised(box: Sandbox, current: Container | None) -> Step | None:
    """What a container that should be at work has come to."""
    if current is None:
        error = SandboxError(epoch=box.epoch, reason="vanished", message="The container is no longer there.")
        return Record(error)
    if current.status == "paused":
        return Resume(current.name)
    if current.out_of_memory and current.status in ("stopped", "error"):
        message = "The container used more memory than it may."
        error = SandboxError(epoch=box.epoch, reason="out_of_memory", message=message, exit_code=current.exit_code)
        return Record(error, current.name)
    if current.status in ("stopped", "error"):
        code = "" if current.exit_code is None else f" with code {current.exit_code}"
        error = SandboxError(
            epoch=box.epoch, reason="exited", message=f"The container ended{code}.", exit_code=current.exit_code
        )
        return Record(error, current.name)
    if current.healthy is False:
        message = "The runner in the container does not move any more: its health check has failed again and again."
        error = SandboxError(epoch=box.epoch, reason="unhealthy", message=message)
        return Record(error, current.name)
    return None


def _taking_up(at: Situation, current: Container | None, now: datetime, patience: Patience) -> Step | None:
    """A runner may hang in a container that looks well: what tells is that it does not take the run."""
    box, run = at.sandbox, at.run
    if current is None or run is None or run.status != "dispatched":
        return None
    if min(seconds_since(run.dispatched_at, now), seconds_since(box.changed_at, now)) < patience.take_up:
        return None
    message = f"Nobody in the container has taken the run for {patience.take_up:g} s."
    return Record(SandboxError(epoch=box.epoch, reason="unhealthy", message=message), current.name)


def _towards_paused(at: Situation, current: Container | None) -> Step | None:
    if current is not None and current.status == "running":
        return Pause(current.name)
    return None if current is not None and current.status == "paused" else _supervised(at.sandbox, current)


def _towards_rest(at: Situation, current: Container | None, now: datetime, *, archived: bool) -> Step | None:
    box = at.sandbox
    if box.status != "stopped":
        return Record(SandboxStopped(epoch=box.epoch, reason=_stop_reason(at, now) or "idle"))
    if archived and box.reason not in FOR_GOOD:
        return Record(SandboxStopped(epoch=box.epoch, reason="archived"))
    if current is None:
        return None
    if archived:
        return Delete(current.name)
    return Stop(current.name) if current.status in ("running", "paused", "creating") else None


def _towards_absence(at: Situation, current: Container | None) -> Step | None:
    if current is not None:
        return Delete(current.name)
    return Forget() if at.sandbox.status == "deleted" and at.has_remains else None


def _farewell(at: Situation, containers: Sequence[Container] | None) -> Step | None:
    """The session is gone: first its runs end, then the container goes, then all the rest."""
    if at.has_open_runs or containers is None:
        return None
    if containers:
        return Delete(containers[0].name)
    if at.has_remains:
        return Forget()
    if at.sandbox.status in ("absent", "deleted"):
        return None
    return Record(SandboxDeleted(epoch=at.sandbox.epoch, reason="session_deleted"))


def _create(at: Situation) -> Record:
    box = at.sandbox
    return Record(
        SandboxCreating(
            epoch=box.epoch,
            method=box.method,
            name=container_name(at.session_id, box.epoch),
            image=at.installation.image(at.runner_type),
            runtime=at.rules.runtime,
            reason=box.started_for,
        )
    )


def _is_fresh(at: Situation, current: Container, now: datetime, patience: Patience) -> bool:
    """Whether a container at rest may be started again: image and runtime are those of now, its token good for long."""
    box = at.sandbox
    is_young = box.epoch_at is not None and now - box.epoch_at < timedelta(seconds=patience.token_lifetime / 2)
    is_same = (box.image, box.runtime) == (at.installation.image(at.runner_type), at.rules.runtime)
    return is_young and is_same and not current.outdated


def _stop_reason(at: Situation, now: datetime) -> SandboxStop | None:
    """Why a container that nobody works in should rest now."""
    if not at.rules.enabled:
        return "switched_off"
    if at.sandbox.runtime != at.rules.runtime:
        return "rules_changed"
    since = [moment for moment in (at.idle_since, at.sandbox.changed_at) if moment is not None]
    if since and seconds_since(max(since), now) >= at.rules.idle_stop_seconds:
        return "idle"
    return None

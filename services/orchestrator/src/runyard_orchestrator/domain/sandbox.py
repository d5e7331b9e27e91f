"""A session's sandbox as its events tell it: which container, in what state, and what went wrong lately."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal, cast

from runyard_events.catalogue import (
    Method,
    SandboxCreating,
    SandboxDeleted,
    SandboxError,
    SandboxFailure,
    SandboxPaused,
    SandboxRequested,
    SandboxRunning,
    SandboxStart,
    SandboxStopped,
)
from runyard_orchestrator.domain.facts import Fact

SANDBOX_OWNER = "orchestrator.sandbox"
"""The source of the events of sandboxes."""

SandboxStatus = Literal["absent", "requested", "creating", "running", "paused", "stopped", "error", "deleted"]
FOR_GOOD = frozenset({"archived", "expired"})
"""Stopped with one of these, a container is removed: it will not be started again."""
IN_USE: frozenset[SandboxStatus] = frozenset({"requested", "creating", "running", "paused"})
_REMEMBERED = 16


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A session's sandbox. `epoch` counts its containers; `failed_at` is when its newest failures were."""

    status: SandboxStatus = "absent"
    epoch: int = 0
    method: Method = "process"
    purpose: str | None = None
    name: str | None = None
    image: str | None = None
    runtime: str | None = None
    """Of the container that was made last."""
    native_id: str | None = None
    reason: str | None = None
    """Why its status is what it is."""
    message: str | None = None
    exit_code: int | None = None
    failed_at: tuple[datetime, ...] = ()
    created_at: datetime | None = None
    """Of the first container."""
    requested_at: datetime | None = None
    """Since when its container is wanted."""
    epoch_at: datetime | None = None
    """Since when its container is being made: its token is as old."""
    changed_at: datetime | None = None
    """Since when its status is what it is."""
    forgotten_seq: int = 0
    """Where it was deleted last: what the agent knew before that is gone."""
    stream_seq: int = 0
    own_seq: int = 0

    @property
    def started_for(self) -> SandboxStart | None:
        """While its container is asked for or being made: why. None: it is not, or nobody has said."""
        return cast("SandboxStart | None", self.reason) if self.status in ("requested", "creating") else None

    def admits(self, epoch: int) -> bool:
        """Whether a container of this epoch is the session's own, so that its token opens anything."""
        return epoch == self.epoch and self.status in IN_USE

    def failures_since(self, moment: datetime | None) -> int:
        """How often a container was lost or could not be had since then."""
        return sum(1 for at in self.failed_at if moment is None or at >= moment)


def evolve(sandbox: Sandbox, fact: Fact) -> Sandbox:
    """The sandbox after one more event; one that it has seen already changes nothing."""
    if fact.stream_seq <= sandbox.stream_seq:
        return sandbox
    own = max(sandbox.own_seq, fact.source_seq) if fact.source == SANDBOX_OWNER else sandbox.own_seq
    after = replace(sandbox, stream_seq=fact.stream_seq, own_seq=own)
    changed = _changed(after, fact)
    return after if changed is None else replace(changed, created_at=sandbox.created_at or fact.at)


def _changed(sandbox: Sandbox, fact: Fact) -> Sandbox | None:
    at, changed = fact.at, None
    match fact.payload:
        case SandboxRequested() as asked:
            changed = _requested(sandbox, asked, at)
        case SandboxCreating(epoch=epoch, method=method, name=name, image=image, runtime=runtime, reason=reason):
            made = {"epoch": epoch, "method": method, "name": name, "image": image, "runtime": runtime}
            changed = _now(sandbox, "creating", at, **made, epoch_at=at, reason=reason)
        case SandboxRunning(epoch=epoch, method=method, name=name, native_id=native_id, reason=reason):
            found = {"epoch": epoch, "method": method, "name": name, "native_id": native_id}
            changed = _now(sandbox, "running", at, **found, reason=reason)
        case SandboxPaused(reason=reason):
            changed = _now(sandbox, "paused", at, reason=reason)
        case SandboxStopped(reason=reason):
            changed = _now(sandbox, "stopped", at, reason=reason)
        case SandboxError(reason=reason, message=message, exit_code=exit_code):
            failed = _failed(sandbox, reason, at)
            changed = _now(sandbox, "error", at, reason=reason, message=message, exit_code=exit_code, failed_at=failed)
        case SandboxDeleted(reason=reason):
            changed = _now(sandbox, "deleted", at, reason=reason, forgotten_seq=fact.stream_seq, failed_at=())
        case _:
            pass
    return changed


def _requested(sandbox: Sandbox, asked: SandboxRequested, at: datetime) -> Sandbox:
    same = asked.epoch == sandbox.epoch
    return _now(
        sandbox,
        "requested",
        at,
        epoch=asked.epoch,
        method=asked.method,
        purpose=asked.purpose,
        reason=asked.reason,
        requested_at=at,
        name=sandbox.name if same else None,
        image=sandbox.image if same else None,
        native_id=sandbox.native_id if same else None,
        epoch_at=sandbox.epoch_at if same else None,
    )


def _now(sandbox: Sandbox, status: SandboxStatus, at: datetime, **values: object) -> Sandbox:
    cleared: dict[str, object] = {"reason": None, "message": None, "exit_code": None}
    return replace(sandbox, status=status, changed_at=at, **{**cleared, **values})  # type: ignore[arg-type]


def _failed(sandbox: Sandbox, reason: SandboxFailure, at: datetime) -> tuple[datetime, ...]:
    # Giving up is the sum of the failures before it, not one more.
    if reason == "gave_up":
        return sandbox.failed_at
    return (*sandbox.failed_at, at)[-_REMEMBERED:]

"""What is known about a session's sandbox, and the steps that may follow."""

from dataclasses import dataclass
from datetime import datetime

from runyard_events.catalogue import Payload
from runyard_orchestrator.domain.rules import OUR_CONTAINERS, Installation, Rules
from runyard_orchestrator.domain.run import Run
from runyard_orchestrator.domain.sandbox import IN_USE, Sandbox
from runyard_orchestrator.domain.session import SessionStatus

_NAMED_AFTER = 8


@dataclass(frozen=True, slots=True)
class Patience:
    """How often and how long to try. Seconds."""

    restarts: int = 3
    """Containers that a run may lose before it is given up."""
    backoff: float = 1.0
    """Before the first replacement; then twice as long each time."""
    longest_backoff: float = 30.0
    engine_away: float = 120.0
    """How long a run waits for an engine that does not answer."""
    take_up: float = 180.0
    """How long a run may lie at a container that runs before the container counts as one that does not answer."""
    archive_after: float = 7 * 24 * 3600
    """A container at rest for this long is removed; the session's files and the agent's thread stay."""
    token_lifetime: float = 7 * 24 * 3600


@dataclass(frozen=True, slots=True)
class Situation:
    """All that is known about one session's sandbox but for what the engine says."""

    session: SessionStatus
    session_id: str
    runner_type: str
    sandbox: Sandbox
    rules: Rules
    installation: Installation
    run_id: str | None = None
    run: Run | None = None
    """The active run, while it has not ended."""
    idle_since: datetime | None = None
    unsettled: bool = False
    """Whether a run is active, or about to be, of which nothing more is known yet."""
    has_open_runs: bool = False
    may_warm: bool = False
    """Whether there is room for it among those made before their session's first prompt."""
    has_remains: bool = False
    """Whether the agent's folder is on the disk, or the queue of its starts at the server."""

    @property
    def gone(self) -> bool:
        """Whether nobody will want the sandbox any more."""
        return self.session in ("deleted", "failed")

    @property
    def occupied(self) -> bool:
        """Whether a run is worked on in it, or is to be."""
        return self.unsettled or (self.run is not None and self.run.method in OUR_CONTAINERS)

    @property
    def needed(self) -> bool:
        """Whether a run cannot go on without it."""
        return (
            self.occupied and self.run is not None and self.run.status in ("dispatched", "running", "waiting_approval")
        )


@dataclass(frozen=True, slots=True)
class Record:
    """Say so in the log; behind a failure with the last lines of this container."""

    payload: Payload
    tail_of: str | None = None


@dataclass(frozen=True, slots=True)
class Provision:
    """Have the container made."""

    epoch: int
    name: str


@dataclass(frozen=True, slots=True)
class Start:
    """Start the container at rest again."""

    name: str


@dataclass(frozen=True, slots=True)
class Resume:
    """Let the container's processes go on."""

    name: str


@dataclass(frozen=True, slots=True)
class Pause:
    """Let the container's processes stand still."""

    name: str


@dataclass(frozen=True, slots=True)
class Stop:
    """Bring the container to rest."""

    name: str


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove the container."""

    name: str


@dataclass(frozen=True, slots=True)
class Forget:
    """Remove what else there is of the sandbox: the agent's folder, the queue of its starts."""


@dataclass(frozen=True, slots=True)
class TakeBack:
    """Give the run to a plain process."""

    run_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class FailRun:
    """End the run: its container cannot be had."""

    run_id: str
    message: str


@dataclass(frozen=True, slots=True)
class Wait:
    """Look again after this many seconds."""

    seconds: float


Step = Record | Provision | Start | Resume | Pause | Stop | Delete | Forget | TakeBack | FailRun | Wait


def gives_way(box: Sandbox, rules: Rules) -> bool:
    """Whether a container of a runtime that is not the team's any more may still be at work."""
    may_be_there = box.status in IN_USE or box.reason == "rules_changed"
    is_first = box.status == "requested" and box.epoch == 1 and box.epoch_at is None
    return may_be_there and not is_first and box.runtime != rules.runtime


def container_name(session_id: str, epoch: int) -> str:
    """The name of a session's container."""
    return f"runyard-{session_id[:_NAMED_AFTER]}-{epoch}"


def seconds_since(moment: datetime | None, now: datetime) -> float:
    """How long ago it was; 0 when it never was."""
    return 0.0 if moment is None else max(0.0, (now - moment).total_seconds())

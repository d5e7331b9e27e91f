"""Events of sandboxes: where a session's agent runs, and what a team allows there. Owner: orchestrator.

A session has one sandbox for as long as it lives. The container behind it may be replaced; `epoch` counts
its containers, and a token of an earlier epoch opens nothing any more. Statuses stand on the session's
`sandbox` subject (compare-and-set), what is measured and said in it on `telemetry`. A preview's container
reports on the preview's own `telemetry` with the same types.
"""

from typing import ClassVar, Literal

from pydantic import Field

from runyard_events.catalogue.base import Family, Payload
from runyard_events.model import Wire

Method = Literal["process", "docker", "dokploy", "kubernetes", "external"]
"""Where a run is worked on: beside the services, in a container of one of the provisioners, or at a
container of somebody else that speaks our HTTP or WebSocket contract."""

SandboxStart = Literal["prompt", "user", "pool", "replaced", "renewed", "restarted", "cannot_pause"]
"""Why a container comes to be, or to run again: a run needs it; somebody asked for it; it is kept ready for a first
prompt; the one before it failed or was lost; the one before it could not be started again, being too old or gone; its
run goes on after a rest; its platform cannot pause it."""
SandboxStop = Literal["idle", "user", "switched_off", "rules_changed", "archived", "expired", "shutdown"]
SandboxFailure = Literal[
    "create_failed",
    "image_missing",
    "engine_away",
    "exited",
    "out_of_memory",
    "vanished",
    "unhealthy",
    "disk_full",
    "expired",
    "gave_up",
]
SandboxEnd = Literal["session_deleted", "user", "replaced", "switched_off"]


class SandboxRules(Wire):
    """What a team allows in its sandboxes. None: as the installation has it."""

    enabled: bool | None = None
    """Whether runs go into containers at all."""
    process_fallback: bool | None = None
    """Whether a run may go to a plain process when its container cannot be had."""
    egress: tuple[str, ...] | None = None
    """Hosts that may be reached, `host`, `*.host` or `host:port`; 443 and 80 without a port."""
    idle_stop_seconds: int | None = Field(default=None, ge=10)
    runtime: str | None = None
    """The container runtime, for example `runsc`."""


class SandboxRequested(Payload):
    """A container is needed; `purpose` says for what (`pool`: made before the session's first prompt)."""

    TYPE: ClassVar[str] = "sandbox.requested"
    VERSION: ClassVar[int] = 2
    FAMILY: ClassVar[Family] = "sandbox"
    epoch: int
    method: Method
    purpose: Literal["run", "user", "recovery", "pool"]
    reason: SandboxStart | None = None
    requested_by: str | None = None


class SandboxCreating(Payload):
    """The container is being made."""

    TYPE: ClassVar[str] = "sandbox.creating"
    VERSION: ClassVar[int] = 3
    FAMILY: ClassVar[Family] = "sandbox"
    epoch: int
    method: Method
    name: str
    image: str | None = None
    runtime: str | None = None
    """What the engine runs it by; None: its own way, or said before runtimes were."""
    reason: SandboxStart | None = None
    """As it was requested; None: said before reasons were."""


class SandboxRunning(Payload):
    """The container runs; `took_ms` since it was asked for."""

    TYPE: ClassVar[str] = "sandbox.running"
    VERSION: ClassVar[int] = 2
    FAMILY: ClassVar[Family] = "sandbox"
    epoch: int
    method: Method
    name: str
    native_id: str
    took_ms: int | None = None
    warm: bool = False
    """It came from the warm pool."""
    reason: SandboxStart | None = None
    """As it was requested, or why it goes on; None: said before reasons were."""


class SandboxPaused(Payload):
    """Its processes stand still; nothing of them is lost."""

    TYPE: ClassVar[str] = "sandbox.paused"
    FAMILY: ClassVar[Family] = "sandbox"
    epoch: int
    reason: SandboxStop


class SandboxStopped(Payload):
    """The container is gone or at rest; files and the agent's thread stay. The next prompt starts it again."""

    TYPE: ClassVar[str] = "sandbox.stopped"
    FAMILY: ClassVar[Family] = "sandbox"
    epoch: int
    reason: SandboxStop


class SandboxError(Payload):
    """The container could not be had, or is no more though it should be."""

    TYPE: ClassVar[str] = "sandbox.error"
    FAMILY: ClassVar[Family] = "sandbox"
    epoch: int
    reason: SandboxFailure
    message: str
    exit_code: int | None = None
    log_tail: tuple[str, ...] = ()


class SandboxDeleted(Payload):
    """The container and everything of it is gone; a later one has a higher epoch."""

    TYPE: ClassVar[str] = "sandbox.deleted"
    FAMILY: ClassVar[Family] = "sandbox"
    epoch: int
    reason: SandboxEnd


class SandboxStats(Payload):
    """What a container uses. Bytes; `cpu_percent` of one core (200: two cores); `None`: not known here."""

    TYPE: ClassVar[str] = "sandbox.stats"
    FAMILY: ClassVar[Family] = "telemetry"
    cpu_percent: float
    memory_bytes: int
    memory_limit_bytes: int | None = None
    disk_bytes: int | None = None
    processes: int | None = None
    received_bytes: int | None = None
    sent_bytes: int | None = None


class SandboxLogged(Payload):
    """Lines that a container printed, in order; `dropped` counts those left out because they came too fast."""

    TYPE: ClassVar[str] = "sandbox.logged"
    FAMILY: ClassVar[Family] = "telemetry"
    lines: tuple[str, ...]
    dropped: int = 0


class SandboxEgressDenied(Payload):
    """A connection to the outside was refused. `count` of the same within a short time are one event."""

    TYPE: ClassVar[str] = "sandbox.egress_denied"
    FAMILY: ClassVar[Family] = "telemetry"
    host: str
    port: int
    count: int = 1


class SandboxRulesChanged(Payload):
    """A team's rules for its sandboxes, whole. They hold from the next run on."""

    TYPE: ClassVar[str] = "team.sandbox_rules_changed"
    FAMILY: ClassVar[Family] = "lifecycle"
    rules: SandboxRules
    changed_by: str | None = None

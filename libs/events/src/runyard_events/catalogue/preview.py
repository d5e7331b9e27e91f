"""Events of previews: a project's own pages, built and served from a branch or a session's files.

Owner: orchestrator.
"""

from datetime import datetime
from typing import ClassVar, Literal

from runyard_events.catalogue.base import Family, Payload
from runyard_events.catalogue.sandbox import Method

PreviewFailure = Literal[
    "not_detected",
    "workspace_lost",
    "no_port",
    "create_failed",
    "build_failed",
    "exited",
    "out_of_memory",
    "unhealthy",
    "vanished",
    "engine_away",
]
PreviewStop = Literal["user", "session_deleted", "shutdown"]


class PreviewRequested(Payload):
    """A preview was asked for. With a session it shows that session's files as they change, else a branch."""

    TYPE: ClassVar[str] = "preview.requested"
    FAMILY: ClassVar[Family] = "lifecycle"
    workspace_id: str
    session_id: str | None = None
    branch: str | None = None
    command: str | None = None
    framework: str | None = None
    requested_by: str | None = None
    idempotency_key: str | None = None
    request_hash: str | None = None


class PreviewPrepared(Payload):
    """Its files are there and it is known what they are and how they are served."""

    TYPE: ClassVar[str] = "preview.prepared"
    VERSION: ClassVar[int] = 2
    FAMILY: ClassVar[Family] = "lifecycle"
    path: str
    framework: str
    name: str
    """The framework's name for people."""
    install: str | None = None
    build: str | None = None
    serve: str
    branch: str | None = None
    commit: str | None = None
    folder: str = ""
    """Where below `path` the files of its image are, or its compose file."""


class PreviewStarting(Payload):
    """It is being installed, built and started. `generation` counts its starts; `port` is its own, 5000-8999."""

    TYPE: ClassVar[str] = "preview.starting"
    FAMILY: ClassVar[Family] = "lifecycle"
    generation: int
    method: Method
    port: int
    container_name: str | None = None


class PreviewReady(Payload):
    """Its page answers. `address` is where the gateway's proxy finds it, host and port."""

    TYPE: ClassVar[str] = "preview.ready"
    FAMILY: ClassVar[Family] = "lifecycle"
    generation: int
    address: str
    took_ms: int


class PreviewFailed(Payload):
    """It did not come up, or went down."""

    TYPE: ClassVar[str] = "preview.failed"
    FAMILY: ClassVar[Family] = "lifecycle"
    generation: int
    reason: PreviewFailure
    message: str
    exit_code: int | None = None
    log_tail: tuple[str, ...] = ()


class PreviewStopped(Payload):
    """It was stopped; it can be started again."""

    TYPE: ClassVar[str] = "preview.stopped"
    FAMILY: ClassVar[Family] = "lifecycle"
    generation: int
    reason: PreviewStop


class PreviewShared(Payload):
    """A link was given out that opens the preview without an account until `expires_at`."""

    TYPE: ClassVar[str] = "preview.shared"
    FAMILY: ClassVar[Family] = "lifecycle"
    share_id: str
    expires_at: datetime
    shared_by: str | None = None


class PreviewShareRevoked(Payload):
    """A shared link opens nothing any more."""

    TYPE: ClassVar[str] = "preview.share_revoked"
    FAMILY: ClassVar[Family] = "lifecycle"
    share_id: str
    revoked_by: str | None = None


class PreviewDeleted(Payload):
    """It is gone, its container and its files with it."""

    TYPE: ClassVar[str] = "preview.deleted"
    FAMILY: ClassVar[Family] = "lifecycle"
    deleted_by: str | None = None

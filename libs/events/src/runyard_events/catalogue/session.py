"""Events of a session: one conversation with one agent in one worktree. Owner: orchestrator."""

from typing import ClassVar, Literal

from runyard_events.catalogue.base import Family, Payload

ApprovalPolicy = Literal["never", "on-request"]


class SessionCreated(Payload):
    """A session was asked for; its worktree is being made."""

    TYPE: ClassVar[str] = "session.created"
    FAMILY: ClassVar[Family] = "lifecycle"
    workspace_id: str
    runner_type: str
    thread_id: str
    approval_policy: ApprovalPolicy = "never"
    model: str | None = None
    title: str | None = None
    created_by: str | None = None
    idempotency_key: str | None = None
    request_hash: str | None = None


class SessionReady(Payload):
    """The session can take prompts. `repo_path` is its worktree on the workspace's disk."""

    TYPE: ClassVar[str] = "session.ready"
    FAMILY: ClassVar[Family] = "lifecycle"
    repo_path: str
    thread_id: str
    branch: str
    base_commit: str


class SessionFailed(Payload):
    """The session could not be made."""

    TYPE: ClassVar[str] = "session.failed"
    FAMILY: ClassVar[Family] = "lifecycle"
    reason: str
    message: str


class SessionRunQueued(Payload):
    """A run joined the session's queue at `position` (0: it is next)."""

    TYPE: ClassVar[str] = "session.run_queued"
    FAMILY: ClassVar[Family] = "lifecycle"
    queued_run_id: str
    position: int


class SessionRunActivated(Payload):
    """A queued run became the session's active one."""

    TYPE: ClassVar[str] = "session.run_activated"
    FAMILY: ClassVar[Family] = "lifecycle"
    active_run_id: str


class SessionRunDequeued(Payload):
    """A run left the queue without ever becoming active (it was cancelled)."""

    TYPE: ClassVar[str] = "session.run_dequeued"
    FAMILY: ClassVar[Family] = "lifecycle"
    dequeued_run_id: str


class SessionDeleted(Payload):
    """The session is closed; its history stays in the log."""

    TYPE: ClassVar[str] = "session.deleted"
    FAMILY: ClassVar[Family] = "lifecycle"
    deleted_by: str | None = None

"""What the orchestrator is asked for about previews of a project."""

from datetime import datetime
from typing import ClassVar, Literal

from runyard_events.commands.payload import CommandPayload

PreviewAction = Literal["start", "restart", "stop", "delete"]


class CreatePreview(CommandPayload):
    """A preview of a session's worktree, or of a branch of a workspace."""

    TYPE: ClassVar[str] = "orchestrator.create-preview"
    SUBJECT: ClassVar[str] = "cmd.orchestrator.create-preview"
    preview_id: str
    workspace_id: str
    session_id: str | None = None
    branch: str | None = None
    command: str | None = None
    """A person's own command, run by a shell with `PORT` set; None: as detected."""
    framework: str | None = None
    """A framework's slug when the likeliest candidate is not the one that is wanted."""
    idempotency_key: str | None = None
    request_hash: str | None = None


class ControlPreview(CommandPayload):
    TYPE: ClassVar[str] = "orchestrator.control-preview"
    SUBJECT: ClassVar[str] = "cmd.orchestrator.control-preview"
    preview_id: str
    action: PreviewAction


class SharePreview(CommandPayload):
    """A link that opens a preview without an account, until it expires or is revoked."""

    TYPE: ClassVar[str] = "orchestrator.share-preview"
    SUBJECT: ClassVar[str] = "cmd.orchestrator.share-preview"
    preview_id: str
    share_id: str
    expires_at: datetime


class RevokeShare(CommandPayload):
    TYPE: ClassVar[str] = "orchestrator.revoke-share"
    SUBJECT: ClassVar[str] = "cmd.orchestrator.revoke-share"
    preview_id: str
    share_id: str

"""What the workspace service is asked for."""

from typing import ClassVar, Literal

from pydantic import Field

from runyard_events.commands.payload import CommandPayload

OWNER = r"^\d{1,9}:\d{1,9}$"
"""`uid:gid`, as a container takes it."""


class ImportWorkspace(CommandPayload):
    TYPE: ClassVar[str] = "workspace.import"
    SUBJECT: ClassVar[str] = "cmd.workspace.import"
    workspace_id: str
    source_type: Literal["github", "git", "local"]
    source_uri: str
    display_name: str
    idempotency_key: str | None = None
    request_hash: str | None = None


class OpenWorktree(CommandPayload):
    TYPE: ClassVar[str] = "workspace.open-worktree"
    SUBJECT: ClassVar[str] = "cmd.workspace.open-worktree"
    workspace_id: str
    session_id: str


class RemoveWorktree(CommandPayload):
    TYPE: ClassVar[str] = "workspace.remove-worktree"
    SUBJECT: ClassVar[str] = "cmd.workspace.remove-worktree"
    workspace_id: str
    session_id: str


class PrepareSandbox(CommandPayload):
    """What a session's container has to be given of the disk; asked for before each container is made.

    Reply: `path` (the worktree, the same inside), `branch`, and `mounts`, each `{source, target, read_only}`, files
    among them. All that is not read-only belongs to `owner` from then on.
    """

    TYPE: ClassVar[str] = "workspace.prepare-sandbox"
    SUBJECT: ClassVar[str] = "cmd.workspace.prepare-sandbox"
    session_id: str
    owner: str | None = Field(default=None, pattern=OWNER)
    """`uid:gid` that the container runs as; None: as the workspace service does."""
    beside: bool = False
    """The container is to run beside the session's own: a Git directory that is there stays as it is."""


class ReleaseSandbox(CommandPayload):
    """The session's container is gone, and its next run works without one: the files become the service's own again.

    Not needed between two containers. Without a private Git directory nothing is done. Reply: `branch`, `commit`.
    """

    TYPE: ClassVar[str] = "workspace.release-sandbox"
    SUBJECT: ClassVar[str] = "cmd.workspace.release-sandbox"
    session_id: str


class OpenPreviewTree(CommandPayload):
    """A working tree for a preview that follows a branch. Reply: `path`, `branch`, `commit`.

    Asked again it stays as it is, unless the branch has moved: then the whole tree is made anew, and whatever
    runs in the former one has to be started again.
    """

    TYPE: ClassVar[str] = "workspace.open-preview-tree"
    SUBJECT: ClassVar[str] = "cmd.workspace.open-preview-tree"
    workspace_id: str
    preview_id: str
    branch: str | None = None
    """None: the branch that the managed copy has checked out."""
    owner: str | None = Field(default=None, pattern=OWNER)
    """`uid:gid` of the preview's container; None: as the workspace service's own."""


class RemovePreviewTree(CommandPayload):
    TYPE: ClassVar[str] = "workspace.remove-preview-tree"
    SUBJECT: ClassVar[str] = "cmd.workspace.remove-preview-tree"
    workspace_id: str
    preview_id: str


class DetectProject(CommandPayload):
    """What kind of project a folder of ours holds. Reply: `candidates`, the likeliest first."""

    TYPE: ClassVar[str] = "workspace.detect-project"
    SUBJECT: ClassVar[str] = "cmd.workspace.detect-project"
    workspace_id: str
    session_id: str | None = None
    preview_id: str | None = None


def credential_context(tenant_id: str, credential_id: str, host: str, username: str) -> str:
    """What a credential's secret is sealed for."""
    return f"runyard-credential\n{tenant_id}\n{credential_id}\n{host}\n{username}"


class SetCredential(CommandPayload):
    """What Git signs in with at a remote's host. `secret` is sealed: only the workspace service can open it.

    It is sealed for `credential_context(...)` of this very tenant, id, host and user name.
    """

    TYPE: ClassVar[str] = "workspace.set-credential"
    SUBJECT: ClassVar[str] = "cmd.workspace.set-credential"
    credential_id: str
    host: str
    """In lower case, without the port 443."""
    username: str
    secret: str


class RemoveCredential(CommandPayload):
    TYPE: ClassVar[str] = "workspace.remove-credential"
    SUBJECT: ClassVar[str] = "cmd.workspace.remove-credential"
    credential_id: str


class FetchWorkspace(CommandPayload):
    """Bring the managed copy's remote branches up to date. Reply: `branches` that changed."""

    TYPE: ClassVar[str] = "workspace.fetch"
    SUBJECT: ClassVar[str] = "cmd.workspace.fetch"
    workspace_id: str


class PushSession(CommandPayload):
    """Push what a session has worked out to a branch of the remote. Reply: `branch`, `commit`."""

    TYPE: ClassVar[str] = "workspace.push-session"
    SUBJECT: ClassVar[str] = "cmd.workspace.push-session"
    workspace_id: str
    session_id: str
    branch: str | None = None
    """None: the session's own branch."""
    message: str | None = None


class OpenPullRequest(CommandPayload):
    """Push, then ask for a merge of the session's branch. Reply: `url`, `number`."""

    TYPE: ClassVar[str] = "workspace.open-pull-request"
    SUBJECT: ClassVar[str] = "cmd.workspace.open-pull-request"
    workspace_id: str
    session_id: str
    title: str
    body: str = ""
    base: str | None = None
    draft: bool = False

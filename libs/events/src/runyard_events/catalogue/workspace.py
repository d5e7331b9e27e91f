"""Events of a workspace and of the worktrees and checkpoints made from it. Owner: workspace."""

from typing import ClassVar, Literal

from runyard_events.catalogue.base import Family, Payload

ImportFailure = Literal[
    "not_found",
    "auth_required",
    "empty",
    "too_large",
    "timeout",
    "not_a_repository",
    "refused_url",
    "disk_full",
    "failed",
]


class WorkspaceImportRequested(Payload):
    """Somebody asked for a repository; the clone follows."""

    TYPE: ClassVar[str] = "workspace.import_requested"
    FAMILY: ClassVar[Family] = "lifecycle"
    source_type: Literal["github", "git", "local"]
    source_uri: str
    display_name: str
    requested_by: str | None = None
    idempotency_key: str | None = None
    request_hash: str | None = None


class WorkspaceImportProgress(Payload):
    """How far the clone is; `percent` is 0..100 or null where Git does not say."""

    TYPE: ClassVar[str] = "workspace.import_progress"
    FAMILY: ClassVar[Family] = "ui"
    phase: str
    percent: int | None = None
    message: str | None = None


class WorkspaceImported(Payload):
    """The managed copy is complete and can be worked on."""

    TYPE: ClassVar[str] = "workspace.imported"
    FAMILY: ClassVar[Family] = "lifecycle"
    source_type: Literal["github", "git", "local"]
    source_uri: str
    display_name: str
    local_path: str
    head_commit: str
    default_branch: str
    size_bytes: int


class WorkspaceImportFailed(Payload):
    """The repository could not be had; nothing of it is left on disk."""

    TYPE: ClassVar[str] = "workspace.import_failed"
    FAMILY: ClassVar[Family] = "lifecycle"
    reason: ImportFailure
    message: str


class WorktreeOpened(Payload):
    """The session's own working tree, on its own branch."""

    TYPE: ClassVar[str] = "worktree.opened"
    FAMILY: ClassVar[Family] = "effect"
    workspace_id: str
    path: str
    branch: str
    base_commit: str


class WorktreeFailed(Payload):
    """No working tree could be made for the session."""

    TYPE: ClassVar[str] = "worktree.failed"
    FAMILY: ClassVar[Family] = "effect"
    workspace_id: str
    reason: str
    message: str


class WorktreeRemoved(Payload):
    """The session's working tree is gone; its checkpoints stay in the repository."""

    TYPE: ClassVar[str] = "worktree.removed"
    FAMILY: ClassVar[Family] = "effect"
    workspace_id: str


class CheckpointCreated(Payload):
    """The files as the run left them, as a commit on a hidden ref of the managed copy.

    `skipped_files` counts changed files that were left out because they are too large or no plain files.
    """

    TYPE: ClassVar[str] = "checkpoint.created"
    FAMILY: ClassVar[Family] = "effect"
    commit: str
    ref: str
    parent: str
    files_changed: int
    insertions: int
    deletions: int
    skipped_files: int = 0


class CheckpointFailed(Payload):
    """The files could not be kept; the worktree itself is untouched."""

    TYPE: ClassVar[str] = "checkpoint.failed"
    FAMILY: ClassVar[Family] = "effect"
    reason: str
    message: str


CommitsRefusal = Literal["conflict", "damaged", "too_large", "timeout", "disk_full"]


class CommitsTaken(Payload):
    """What an agent has committed in its container is on the session's branch of the managed copy.

    `rewritten`: it had changed commits that were taken before; those are kept on a hidden ref.
    """

    TYPE: ClassVar[str] = "worktree.commits_taken"
    FAMILY: ClassVar[Family] = "effect"
    workspace_id: str
    branch: str
    commit: str
    previous: str | None = None
    rewritten: bool = False


class CommitsRefused(Payload):
    """What an agent has committed in its container is not on the session's branch; the files are as it left them.

    On a conflict (both sides have moved the branch) its commits are kept on the hidden ref `ref`.
    """

    TYPE: ClassVar[str] = "worktree.commits_refused"
    FAMILY: ClassVar[Family] = "effect"
    workspace_id: str
    branch: str
    reason: CommitsRefusal
    message: str
    commit: str | None = None
    ref: str | None = None


SyncFailure = Literal[
    "auth_required", "not_found", "conflict", "rejected", "timeout", "unreachable", "nothing_to_push", "failed"
]


class CredentialSet(Payload):
    """A team gave what Git signs in with at a host. `sealed` opens only with the workspace service's own key."""

    TYPE: ClassVar[str] = "team.credential_set"
    FAMILY: ClassVar[Family] = "effect"
    credential_id: str
    host: str
    username: str
    sealed: str
    set_by: str | None = None


class CredentialRemoved(Payload):
    """The credential is not used any more."""

    TYPE: ClassVar[str] = "team.credential_removed"
    FAMILY: ClassVar[Family] = "effect"
    credential_id: str
    removed_by: str | None = None


class WorkspaceFetched(Payload):
    """The managed copy's remote branches were brought up to date; `branches` are those that changed."""

    TYPE: ClassVar[str] = "workspace.fetched"
    FAMILY: ClassVar[Family] = "lifecycle"
    branches: dict[str, str]
    """Branch -> commit; an empty commit: the remote has deleted it."""


class WorkspaceSyncFailed(Payload):
    """The remote could not be reached or refused; the managed copy is as it was."""

    TYPE: ClassVar[str] = "workspace.sync_failed"
    FAMILY: ClassVar[Family] = "lifecycle"
    reason: SyncFailure
    message: str


class BranchPushed(Payload):
    """What a session worked out is on the remote."""

    TYPE: ClassVar[str] = "branch.pushed"
    FAMILY: ClassVar[Family] = "effect"
    workspace_id: str
    branch: str
    commit: str


class BranchPushFailed(Payload):
    """Nothing was pushed. On a conflict, `files` are those that both sides changed."""

    TYPE: ClassVar[str] = "branch.push_failed"
    FAMILY: ClassVar[Family] = "effect"
    workspace_id: str
    branch: str
    reason: SyncFailure
    message: str
    files: tuple[str, ...] = ()


class PullRequestOpened(Payload):
    """A pull request asks for the session's branch to be merged into `base`."""

    TYPE: ClassVar[str] = "branch.pull_request_opened"
    FAMILY: ClassVar[Family] = "effect"
    workspace_id: str
    branch: str
    base: str
    number: int
    url: str
    draft: bool = False

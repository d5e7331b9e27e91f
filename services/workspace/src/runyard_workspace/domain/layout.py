"""Where things lie below the workspaces root."""

import re
from dataclasses import dataclass
from pathlib import Path

SHORT = 8
_IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")


@dataclass(frozen=True, slots=True)
class Layout:
    """Paths of managed copies and worktrees.

    <root>/<workspace>/repo                   the managed copy
    <root>/<workspace>/worktrees/<session>    one worktree per session
    <root>/<workspace>/previews/<preview>     one detached worktree per preview of a branch
    <root>/<workspace>/sandboxes/<session>    what a session's container gets of Git
    <root>/.staging/                          clones that are not finished
    <root>/.scratch/                          indexes and objects that live for one request
    """

    root: Path

    @property
    def staging(self) -> Path:
        """The parent of unfinished clones; on the same file system as the copies."""
        return self.root / ".staging"

    @property
    def scratch(self) -> Path:
        """The parent of short-lived files."""
        return self.root / ".scratch"

    def workspace(self, workspace_id: str) -> Path:
        """The folder of everything that belongs to a workspace."""
        return self.root / workspace_id

    def repository(self, workspace_id: str) -> Path:
        """The managed copy of a workspace."""
        return self.workspace(workspace_id) / "repo"

    def worktree(self, workspace_id: str, session_id: str) -> Path:
        """The worktree of a session."""
        return self.workspace(workspace_id) / "worktrees" / session_id

    def sandbox(self, workspace_id: str, session_id: str) -> Path:
        """What a session's container gets of Git, beside the worktree."""
        return self.workspace(workspace_id) / "sandboxes" / session_id

    def preview(self, workspace_id: str, preview_id: str) -> Path:
        """The files of a preview that follows a branch. The name never is one of a session's worktree."""
        return self.workspace(workspace_id) / "previews" / f"preview-{preview_id}"


def is_identifier(text: str) -> bool:
    """Whether a text can be the id of something of ours, and so the name of a folder."""
    return _IDENTIFIER.fullmatch(text) is not None


def branch_names(session_id: str) -> tuple[str, str]:
    """The branch of a session: a short name, and a long one for when another session has the short one."""
    return f"runyard/{session_id.replace('-', '')[:SHORT]}", f"runyard/{session_id}"


def checkpoint_ref(session_id: str, run_id: str) -> str:
    """The hidden ref that keeps the files as a run left them."""
    return f"refs/runyard/sessions/{session_id}/runs/{run_id}"


def session_ref(session_id: str, name: str) -> str:
    """A hidden ref of a session."""
    return f"refs/runyard/sessions/{session_id}/{name}"

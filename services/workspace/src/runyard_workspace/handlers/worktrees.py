"""`cmd.workspace.open-worktree` and `cmd.workspace.remove-worktree`."""

import asyncio
import contextlib
from pathlib import Path

from runyard_chassis import NotFound, Problem, get_logger, refusal
from runyard_events import Command, Reply, Scope
from runyard_events.catalogue import WorktreeFailed, WorktreeOpened, WorktreeRemoved
from runyard_events.commands import OpenWorktree, RemoveWorktree
from runyard_workspace.adapters.disk import FULL, is_full
from runyard_workspace.adapters.git import GitError
from runyard_workspace.adapters.worktrees import Opened, Worktrees
from runyard_workspace.domain.layout import Layout
from runyard_workspace.domain.state import FilesState
from runyard_workspace.handlers.sandboxes import SandboxGit
from runyard_workspace.histories import Histories

_log = get_logger(__name__)


class WorktreeFailure(Exception):
    """Why a session gets no worktree."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class SessionFiles:
    """Opens and removes the worktrees of sessions."""

    def __init__(self, *, histories: Histories, worktrees: Worktrees, sandboxes: SandboxGit, layout: Layout) -> None:
        self._histories = histories
        self._sandboxes = sandboxes
        self._worktrees = worktrees
        self._layout = layout

    async def open(self, command: Command[OpenWorktree]) -> Reply:
        """Makes the worktree of a session; one that stands in the log already is only told again."""
        wanted, tenant = command.payload, command.tenant_id
        state, seq = await self._histories.files(tenant, wanted.session_id)
        if state.removed or state.failed or state.opened:
            return _told_again(state, seq)
        scope = Scope.session(tenant, wanted.session_id)
        writer = self._histories.writer(scope, state.next_seq, correlation_id=command.correlation_id)
        outcome: WorktreeOpened | WorktreeFailed
        try:
            opened = await self._open(tenant, wanted)
            outcome = WorktreeOpened(
                workspace_id=wanted.workspace_id,
                path=str(opened.path),
                branch=opened.branch,
                base_commit=opened.base_commit,
            )
            state = FilesState(opened=outcome)
        except WorktreeFailure as failure:
            outcome = WorktreeFailed(workspace_id=wanted.workspace_id, reason=failure.reason, message=failure.message)
            state = FilesState(failed=outcome)
        return _told_again(state, await writer.append(outcome))

    async def remove(self, command: Command[RemoveWorktree]) -> Reply:
        """Takes the worktree of a session away. Its checkpoints stay, so its diffs can still be seen."""
        wanted, tenant = command.payload, command.tenant_id
        state, seq = await self._histories.files(tenant, wanted.session_id)
        if state.removed or state.opened is None:
            return Reply(ok=True, seq=seq or None)
        workspace = state.opened.workspace_id
        async with self._sandboxes.turn(wanted.session_id):
            with contextlib.suppress(GitError, OSError):  # nobody is left who could do anything about it
                await self._sandboxes.take(tenant, wanted.session_id, state.opened)
            await self._worktrees.remove(
                self._layout.repository(workspace),
                self._layout.worktree(workspace, wanted.session_id),
                state.opened.branch,
            )
            await self._sandboxes.forget(wanted.session_id, state.opened)
        scope = Scope.session(tenant, wanted.session_id)
        return Reply(ok=True, seq=await self._histories.tell(scope, WorktreeRemoved(workspace_id=workspace)))

    async def _open(self, tenant: str, wanted: OpenWorktree) -> Opened:
        workspace, _ = await self._histories.workspace(tenant, wanted.workspace_id)
        if workspace.imported is None:
            # Also the answer for a workspace of another tenant: nobody can tell which.
            if workspace.requested and not workspace.failed:
                raise WorktreeFailure("workspace_not_ready", "The workspace is still being imported.")
            raise WorktreeFailure("workspace_not_found", "There is no such workspace.")
        repository = self._layout.repository(wanted.workspace_id)
        if not await asyncio.to_thread((repository / ".git").is_dir):
            raise WorktreeFailure("workspace_lost", "The workspace's files are not on this machine any more.")
        try:
            path = self._layout.worktree(wanted.workspace_id, wanted.session_id)
            return await self._worktrees.open(repository, path, wanted.session_id)
        except (GitError, OSError) as error:
            _log.exception("worktree.failed")
            raise _failure(error, repository) from error


def _failure(error: GitError | OSError, repository: Path) -> WorktreeFailure:
    if is_full(error, repository):
        return WorktreeFailure("disk_full", FULL)
    if isinstance(error, OSError):
        return WorktreeFailure("disk_failed", error.strerror or "the disk refused")
    return WorktreeFailure("git_failed", f"Git could not make the worktree: {error.last_words}")


def _told_again(state: FilesState, seq: int) -> Reply:
    if state.removed:
        return refusal(NotFound("The session's worktree has been removed.", type="worktree-removed"))
    if state.opened:
        opened = state.opened
        result = {"path": opened.path, "branch": opened.branch, "base_commit": opened.base_commit}
        return Reply(ok=True, result=result, seq=seq)
    if state.failed:
        slug = state.failed.reason.replace("_", "-")
        status = 404 if slug == "workspace-not-found" else 409
        problem = Problem(status, slug, "No worktree could be made", state.failed.message)
        return refusal(problem).model_copy(update={"seq": seq})
    raise AssertionError("a session's files are opened, failed or removed")

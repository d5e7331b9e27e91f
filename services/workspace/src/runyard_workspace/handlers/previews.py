"""`cmd.workspace.open-preview-tree` and `cmd.workspace.remove-preview-tree`.

Nothing about them stands in the log: what there is, is what the repository's record of its worktrees says,
so a service that was restarted finds them again.
"""

import asyncio
from pathlib import Path

from runyard_chassis import Conflict as ConflictProblem
from runyard_chassis import Invalid, NotFound, Problem, get_logger
from runyard_events import Command, Reply
from runyard_events.commands import OpenPreviewTree, RemovePreviewTree
from runyard_workspace.adapters.branches import Branch, Branches
from runyard_workspace.adapters.git import GitError
from runyard_workspace.adapters.owners import Owner, give
from runyard_workspace.adapters.place import Place
from runyard_workspace.adapters.worktrees import Worktrees
from runyard_workspace.domain.layout import Layout, is_identifier
from runyard_workspace.domain.paths import has_control_characters
from runyard_workspace.histories import Histories

_log = get_logger(__name__)


class PreviewTrees:
    """Opens and removes the files of previews that follow a branch."""

    def __init__(self, *, histories: Histories, worktrees: Worktrees, branches: Branches, layout: Layout) -> None:
        self._histories = histories
        self._worktrees = worktrees
        self._branches = branches
        self._layout = layout

    async def open(self, command: Command[OpenPreviewTree]) -> Reply:
        """Makes the files of a branch for a preview, or brings them to where the branch is now."""
        wanted = command.payload
        repository, path = await self._places(command.tenant_id, wanted.workspace_id, wanted.preview_id)
        try:
            branch = await self._branch(Place(repository / ".git"), wanted.branch)
            await self._worktrees.open_detached(repository, path, branch.commit)
            if wanted.owner:
                await asyncio.to_thread(give, path, Owner.parse(wanted.owner))
        except GitError as error:
            _log.exception("preview_tree.failed")
            raise Problem(500, "git-failed", "No files could be made for the preview", error.last_words) from error
        except OSError as error:
            _log.exception("preview_tree.failed")
            raise Problem(500, "disk-failed", "No files could be made for the preview", error.strerror) from error
        return Reply(ok=True, result={"path": str(path), "branch": branch.name, "commit": branch.commit})

    async def remove(self, command: Command[RemovePreviewTree]) -> Reply:
        """Takes the files of a preview away; those that are not there are fine."""
        wanted = command.payload
        try:
            repository, path = await self._places(command.tenant_id, wanted.workspace_id, wanted.preview_id)
        except (NotFound, ConflictProblem):
            return Reply(ok=True)  # without its workspace it cannot have any
        await self._worktrees.remove_detached(repository, path)
        return Reply(ok=True)

    async def _places(self, tenant: str, workspace: str, preview: str) -> tuple[Path, Path]:
        if not is_identifier(preview):
            raise Invalid("This cannot be the id of a preview.", type="preview-id")
        state, _ = await self._histories.workspace(tenant, workspace)
        if state.imported is None:
            raise NotFound("There is no such workspace.", type="workspace-not-found")
        repository = self._layout.repository(workspace)
        if not await asyncio.to_thread((repository / ".git").is_dir):
            raise ConflictProblem("The workspace's files are not on this machine any more.", type="workspace-lost")
        return repository, self._layout.preview(workspace, preview)

    async def _branch(self, at: Place, name: str | None) -> Branch:
        if name is None:
            return await self._branches.checked_out(at)
        found = None if has_control_characters(name) else await self._branches.newest(at, name)
        if found is None:
            raise NotFound("The repository has no such branch.", type="branch-not-found")
        return found

"""From a session's id in a request to its files: the one place where the caller's right to them is decided."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from fastapi import Depends
from starlette.requests import HTTPConnection

from runyard_chassis import Conflict, Unavailable
from runyard_workspace.adapters.diffs import Diff, Diffs
from runyard_workspace.adapters.git import GitError, GitStalled
from runyard_workspace.adapters.listing import Listing, Page
from runyard_workspace.adapters.place import Place
from runyard_workspace.adapters.snapshots import Snapshots
from runyard_workspace.adapters.tree import Tree
from runyard_workspace.adapters.worktrees import place_of
from runyard_workspace.domain.layout import Layout
from runyard_workspace.store import Worktree
from runyard_workspace.views import Views, removed


@dataclass(frozen=True, slots=True)
class FileLimits:
    """How much of a file one JSON answer holds, and how large a file may be written, in bytes."""

    read_bytes: int
    write_bytes: int


@dataclass(frozen=True)
class SessionTrees:
    """A tenant's sessions, as files and as diffs."""

    views: Views
    layout: Layout
    listing: Listing
    snapshots: Snapshots
    diffs: Diffs
    limits: FileLimits

    async def files(self, tenant: str, session: str) -> Tree:
        """The files of a session.

        Raises:
            NotFound: not a session of this tenant, or its files are gone.
        """
        return self._tree(await self.views.open_worktree(tenant, session))

    async def page(
        self,
        tenant: str,
        session: str,
        *,
        folder: tuple[str, ...],
        ignored: bool,
        after: str | None,
        limit: int,
    ) -> Page:
        """A page of the list of a session's files. Raises as `files` does, and as `diff_to_now`."""
        worktree = await self.views.open_worktree(tenant, session)
        at = self.place(worktree)
        with _trouble_told(at):
            return await self.listing.page(
                at, self._tree(worktree), folder=folder, ignored=ignored, after=after, limit=limit
            )

    async def diff_to_now(self, worktree: Worktree, old: str) -> tuple[Diff, tuple[str, ...]]:
        """What has changed between a commit and the files as they are; and the files that were left out.

        Raises:
            NotFound: the files were removed meanwhile. Conflict: Git waits at one of them. Unavailable: Git fails.
        """
        at = self.place(worktree)
        with _trouble_told(at):
            async with self.snapshots.scratch() as folder:
                now = await self.snapshots.take(at, folder, keep=False)
                own = at.with_index(folder / "index", folder / "objects")
                return await self.diffs.between(own, old, now.tree), now.skipped

    async def diff(self, worktree: Worktree, old: str, new: str) -> Diff:
        """What has changed between two commits. Works for removed worktrees too."""
        with _stalls_told():
            return await self.diffs.between(self.place(worktree), old, new)

    def place(self, worktree: Worktree) -> Place:
        """Where Git finds a worktree."""
        path = self.layout.worktree(worktree.workspace_id, worktree.session_id)
        return place_of(self.repository(worktree), path)

    def repository(self, worktree: Worktree) -> Path:
        """The managed copy that a worktree belongs to."""
        return self.layout.repository(worktree.workspace_id)

    def _tree(self, worktree: Worktree) -> Tree:
        path = self.layout.worktree(worktree.workspace_id, worktree.session_id)
        return Tree(self.layout.root, path.relative_to(self.layout.root).parts)


def trees_of(connection: HTTPConnection) -> SessionTrees:
    """The sessions' files, as the service put them on the app when it started."""
    trees = connection.app.state.trees
    if not isinstance(trees, SessionTrees):
        raise TypeError("the service has not started")
    return trees


TreesDep = Annotated[SessionTrees, Depends(trees_of)]


@contextmanager
def _stalls_told() -> Generator[None]:
    try:
        yield
    except GitStalled as error:
        raise Conflict(f"{error.last_words}.", type="worktree-unreadable") from error


@contextmanager
def _trouble_told(at: Place) -> Generator[None]:
    try:
        with _stalls_told():
            yield
    except GitError as error:
        if not all(folder and folder.is_dir() for folder in (at.git_dir, at.work_tree)):
            raise removed() from error
        raise Unavailable("The worktree cannot be read just now.", type="worktree-failed") from error

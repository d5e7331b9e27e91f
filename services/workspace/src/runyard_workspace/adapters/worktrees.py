"""One Git worktree per session, on a branch of its own, and one per preview of a branch, on none."""

import asyncio
import contextlib
from dataclasses import dataclass
from pathlib import Path
from weakref import WeakValueDictionary

from runyard_chassis.folders import remove_folder
from runyard_workspace.adapters.branches import Branches
from runyard_workspace.adapters.git import Git, GitError
from runyard_workspace.adapters.place import Place
from runyard_workspace.domain.layout import branch_names


@dataclass(frozen=True, slots=True)
class Opened:
    """A worktree that is ready."""

    path: Path
    branch: str
    base_commit: str


def place_of(repository: Path, worktree: Path) -> Place:
    """The place of a worktree, by the repository's own record of it and not by what the worktree says."""
    common = repository / ".git"
    return Place(common, git_dir=common / "worktrees" / worktree.name, work_tree=worktree)


class Worktrees:
    """Opens and removes worktrees; one change at a time per repository."""

    def __init__(self, git: Git, *, seconds: float = 300.0) -> None:
        self._git = git
        self._branches = Branches(git)
        self._seconds = seconds
        self._locks: WeakValueDictionary[Path, asyncio.Lock] = WeakValueDictionary()

    async def open(self, repository: Path, path: Path, session_id: str) -> Opened:
        """Makes the worktree of a session at `path`, from the branch that the managed copy has checked out.

        That is where the remote has this branch, once it was fetched and is ahead.

        What an attempt that died has left there is cleared first.

        Raises:
            GitError: Git cannot make it; nothing of it is left.
        """
        at = Place(repository / ".git")
        async with self._lock(repository):
            base = (await self._branches.checked_out(at)).commit
            await asyncio.to_thread(_clear, repository, path)
            flag, branch = await self._free_branch(at, session_id)
            await self._add(at, repository, path, "--no-track", flag, branch, str(path), base)
        return Opened(path, branch, base)

    async def open_detached(self, repository: Path, path: Path, commit: str) -> None:
        """Makes a worktree of a commit at `path`, on no branch. One that stands there at that commit stays as it is.

        One of another commit is replaced as a whole and not changed in place: whoever has it open still writes to
        it, and could lead what Git writes elsewhere.

        Raises:
            GitError: Git cannot make it; nothing of it is left.
        """
        at = Place(repository / ".git")
        async with self._lock(repository):
            if await self._stands_at(repository, path) == commit:
                return
            await asyncio.to_thread(_clear, repository, path)
            await self._add(at, repository, path, "--detach", str(path), commit)

    async def remove_detached(self, repository: Path, path: Path) -> None:
        """Takes a worktree that is on no branch away; one that is not there is fine."""
        async with self._lock(repository):
            await asyncio.to_thread(_clear, repository, path)

    async def remove(self, repository: Path, path: Path, branch: str) -> None:
        """Takes a session's worktree away, and its branch if no commit is lost with it; checkpoints stay."""
        at = Place(repository / ".git")
        async with self._lock(repository):
            await asyncio.to_thread(_clear, repository, path)
            if not await asyncio.to_thread(at.common_dir.is_dir):
                return
            with contextlib.suppress(GitError):  # it has commits of its own, or it is gone already
                await self._drop_branch_without_commits(at, branch)

    async def _add(self, at: Place, repository: Path, path: Path, *words: str) -> None:
        filters = await self._git.filters_off(at)
        await asyncio.to_thread(path.parent.mkdir, parents=True, exist_ok=True)
        try:
            await self._git.output("worktree", "add", "--quiet", *words, at=at, settings=filters, timeout=self._seconds)
        except BaseException:
            await asyncio.shield(asyncio.to_thread(_clear, repository, path))
            raise

    async def _stands_at(self, repository: Path, path: Path) -> str | None:
        """The commit of a finished worktree, by the repository's own record of it."""
        at = place_of(repository, path)
        if not await asyncio.to_thread(_finished, at):
            return None
        with contextlib.suppress(GitError):
            return await self._git.text("rev-parse", "--verify", "HEAD^{commit}", at=at)
        return None

    async def _free_branch(self, at: Place, session_id: str) -> tuple[str, str]:
        short, long = branch_names(session_id)
        if not await self._exists(at, f"refs/heads/{short}"):
            return "-b", short
        return "-B", long  # nobody else can have the long one: it holds the session's whole id

    async def _drop_branch_without_commits(self, at: Place, branch: str) -> None:
        ref = f"refs/heads/{branch}"
        others = await self._git.text("for-each-ref", "--format=%(refname)", "refs/heads", "refs/remotes", at=at)
        kept = [name for name in others.split("\n") if name and name != ref]
        own = await self._git.text("rev-list", "--max-count=1", ref, "--not", *kept, at=at)
        if not own:
            await self._git.output("update-ref", "-d", ref, at=at)

    async def _refs(self, at: Place, *prefixes: str) -> list[str]:
        listed = await self._git.text("for-each-ref", "--format=%(refname)", *prefixes, at=at)
        return listed.split("\n") if listed else []

    async def _exists(self, at: Place, ref: str) -> bool:
        try:
            await self._git.output("show-ref", "--verify", "--quiet", ref, at=at)
        except GitError:
            return False
        return True

    def _lock(self, repository: Path) -> asyncio.Lock:
        return self._locks.setdefault(repository, asyncio.Lock())


def _finished(at: Place) -> bool:
    """Whether Git has made the worktree to its end: until then its record is locked."""
    assert at.git_dir is not None and at.work_tree is not None  # noqa: S101, PT018 - a worktree has both
    pointer = at.work_tree / ".git"
    whole = pointer.is_file() and not pointer.is_symlink() and (at.git_dir / "HEAD").is_file()
    return whole and not (at.git_dir / "locked").exists()


def _clear(repository: Path, path: Path) -> None:
    # Both halves are removed by hand: `git worktree remove` would believe the worktree's own `.git` file.
    remove_folder(path)
    remove_folder(repository / ".git" / "worktrees" / path.name)

"""A private Git directory for each session whose agent works in a container.

Inside, it lies where the worktree's `.git` file points to, over the managed copy's own record of that
worktree: the agent commits as usual, and neither the record nor anything else of the managed copy can be
written from there. New objects go into the directory, older ones are read from the managed copy.

<sandbox>/git       the directory: HEAD, refs, index, configuration and new objects
<sandbox>/dotgit    what stands in the worktree's `.git`, laid over it, so that it stays what it is
"""

import asyncio
import contextlib
import secrets
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path

from runyard_chassis import get_logger
from runyard_chassis.folders import remove_folder
from runyard_workspace.adapters.branches import HEADS, Branches
from runyard_workspace.adapters.clean_room import CleanRooms, lay_out
from runyard_workspace.adapters.git import Git, GitError, GitStalled
from runyard_workspace.adapters.git_folder import GitFolder
from runyard_workspace.adapters.owners import Owner, give
from runyard_workspace.adapters.place import Place
from runyard_workspace.adapters.staging import Staging
from runyard_workspace.adapters.tree import Missing, Tree, TreeError
from runyard_workspace.adapters.worktrees import place_of

_log = get_logger(__name__)

OTHERS = "refs/heads/runyard/"
SETTINGS = """\
[user]
	name = Runyard agent
	email = agent@runyard.invalid
[core]
	bare = false
	logAllRefUpdates = true
	# The files were given to the container's user, which changes nothing in them.
	checkStat = minimal
	trustCtime = false
"""


@dataclass(frozen=True, slots=True)
class Mount:
    """What a container has to see of the disk, and where."""

    source: Path
    target: Path
    read_only: bool


@dataclass(frozen=True, slots=True)
class SandboxPlace:
    """The session's files, and the folder of what its container gets of Git."""

    repository: Path
    worktree: Path
    folder: Path
    branch: str

    @property
    def git(self) -> Path:
        """The private Git directory."""
        return self.folder / "git"

    @property
    def dotgit(self) -> Path:
        """What is laid over the worktree's `.git` file."""
        return self.folder / "dotgit"

    @property
    def at(self) -> Place:
        """The worktree by the repository's own record, which no container can write."""
        return place_of(self.repository, self.worktree)

    @property
    def common(self) -> Path:
        """The managed copy's Git directory."""
        return self.repository / ".git"

    @property
    def common_place(self) -> Place:
        """The managed copy without any worktree."""
        return Place(self.common)

    @property
    def pointer(self) -> str:
        """What stands in the worktree's `.git` file."""
        return f"gitdir: {self.record}\n"

    @property
    def record(self) -> Path:
        """The repository's own record of the worktree."""
        return self.common / "worktrees" / self.worktree.name

    @property
    def ref(self) -> str:
        """The session's branch, named in full."""
        return HEADS + self.branch

    @property
    def exists(self) -> bool:
        """Whether the session has a private Git directory."""
        return self.git.is_dir()

    def mounts(self) -> tuple[Mount, ...]:
        """What a container of the session has to be given; nothing else of the managed copy is needed."""
        objects, dotgit = self.common / "objects", self.worktree / ".git"
        return (
            Mount(self.worktree, self.worktree, read_only=False),
            Mount(self.dotgit, dotgit, read_only=True),
            Mount(objects, objects, read_only=True),
            Mount(self.git, self.record, read_only=False),
        )


class Sandboxes:
    """Makes and removes private Git directories."""

    def __init__(
        self, git: Git, branches: Branches, rooms: CleanRooms, scratch: Staging, *, seconds: float = 300.0
    ) -> None:
        self._git = git
        self._seconds = seconds
        self._branches = branches
        self._rooms = rooms
        self._scratch = scratch

    async def prepare(self, place: SandboxPlace, owner: Owner, origin: str | None, *, keep: bool = False) -> bool:
        """Sees to it that the directory is there with the session's branch as it is, and that all is the owner's.

        One whose branch stands elsewhere is made anew, unless it is to be kept: its commits have been taken over,
        or could not be. Returns whether it was made.

        Raises:
            GitError: Git cannot read the managed copy.
            OSError: the disk refuses.
        """
        commit = await self._branches.commit(place.common_place, place.ref)
        stands = await asyncio.to_thread(_stands_at, place, commit)
        made = not (stands or (keep and place.exists))
        if made:
            await self._make(place, origin, commit)
        if await asyncio.to_thread(_hand_over, place, owner):
            await self._look_anew(place)
        return made

    async def release(self, place: SandboxPlace) -> None:
        """Takes the directory away and the files back, for an agent that works without a container.

        Raises:
            OSError: the disk refuses.
        """
        if await asyncio.to_thread(_take_back, place):
            await self._look_anew(place)
        await asyncio.to_thread(remove_folder, place.folder)

    async def drop(self, place: SandboxPlace) -> None:
        """Takes the directory away."""
        await asyncio.to_thread(remove_folder, place.folder)

    async def _look_anew(self, place: SandboxPlace) -> None:
        """What has another owner counts as changed for Git, until it has looked: slower, and not wrong.

        So a file that cannot be read does not keep the session from the container in which it can be removed.
        """
        try:
            await self._git.output("update-index", "-q", "--refresh", at=place.at, timeout=self._seconds)
        except GitStalled as error:
            _log.warning("sandbox.index_not_refreshed", reason=error.last_words)

    async def _make(self, place: SandboxPlace, origin: str | None, commit: str | None) -> None:
        refs, head, object_format = await asyncio.gather(
            self._rooms.refs(place.common_place), self._head(place), self._rooms.object_format(place.common)
        )
        shown = {ref: one for ref, one in refs.items() if not ref.startswith(OTHERS)}
        if commit:
            shown[place.ref] = commit
        settings = SETTINGS + (_remote(origin) if origin else "")
        async with self._scratch.folder("sandbox") as folder:
            made = folder / "git"
            await asyncio.to_thread(
                lay_out, made, object_format, shown, (place.common / "objects",), head=head, settings=settings
            )
            await asyncio.to_thread(_install, made, place)

    async def _head(self, place: SandboxPlace) -> str:
        with contextlib.suppress(GitError):
            return f"ref: {await self._git.text('symbolic-ref', '-q', 'HEAD', at=place.at)}"
        return await self._git.text("rev-parse", "--verify", "HEAD^{commit}", at=place.at)


def _stands_at(place: SandboxPlace, commit: str | None) -> bool:
    """Whether the directory is there and has the session's branch where the managed copy has it."""
    if not place.exists:
        return False
    try:
        return GitFolder(place.git).ref(place.ref) == commit
    except TreeError:
        return False


def _install(made: Path, place: SandboxPlace) -> None:
    for name, source in (("index", place.record / "index"), ("info/exclude", place.common / "info" / "exclude")):
        with contextlib.suppress(FileNotFoundError):
            if stat.S_ISREG(source.lstat().st_mode):
                shutil.copy2(source, made / name)  # with its time: see `snapshots`
    place.folder.mkdir(parents=True, exist_ok=True)
    remove_folder(place.git)
    made.rename(place.git)


def _hand_over(place: SandboxPlace, owner: Owner) -> int:
    """Returns how much of it was not the owner's."""
    place.dotgit.write_text(place.pointer)
    _restore_pointer(place)
    return sum(give(one, owner) for one in (place.git, place.dotgit, place.worktree))


def _take_back(place: SandboxPlace) -> int:
    if not place.worktree.is_dir():
        return 0
    _restore_pointer(place)
    return give(place.worktree, Owner.ourselves())


def _restore_pointer(place: SandboxPlace) -> None:
    """The worktree's `.git` file as Git has made it. An agent without a container may have put something else there."""
    pointer = place.worktree / ".git"
    try:
        found = Tree(place.worktree).read((".git",), limit=len(place.pointer) + 1).content
    except Missing:
        found = b""
    except TreeError:
        place.folder.mkdir(parents=True, exist_ok=True)
        kept = place.folder / f"replaced-{secrets.token_hex(4)}"
        pointer.rename(kept)
        _log.warning("sandbox.pointer_replaced", kept=str(kept))
        found = b""
    if found != place.pointer.encode():
        pointer.unlink(missing_ok=True)
        pointer.write_text(place.pointer)


def _remote(url: str) -> str:
    quoted = url.replace("\\", "\\\\").replace('"', '\\"')
    return f'[remote "origin"]\n\turl = "{quoted}"\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n'

"""Branches of a managed copy: its own, those of the remote, and which of the two is further on."""

from dataclasses import dataclass

from runyard_workspace.adapters.git import Git, GitError, GitTimeout
from runyard_workspace.adapters.place import Place

HEADS = "refs/heads/"
REMOTES = "refs/remotes/origin/"


@dataclass(frozen=True, slots=True)
class Branch:
    """A branch by its name, and the commit that it stands at."""

    name: str
    commit: str


class Branches:
    """Reads the branches of a repository."""

    def __init__(self, git: Git) -> None:
        self._git = git

    async def commit(self, at: Place, ref: str) -> str | None:
        """The commit of a ref, named in full; None when there is none of that name."""
        try:
            return await self._git.text("show-ref", "--verify", "--hash", "--", ref, at=at)
        except GitTimeout:
            raise
        except GitError:
            return None

    async def newest(self, at: Place, name: str) -> Branch | None:
        """A branch as it is now: the managed copy's own, unless the remote's has all of it and more."""
        own = await self.commit(at, HEADS + name)
        theirs = await self.commit(at, REMOTES + name)
        if own is None or theirs is None:
            found = own or theirs
            return Branch(name, found) if found else None
        return Branch(name, theirs if await self.contains(at, theirs, own) else own)

    async def checked_out(self, at: Place) -> Branch:
        """The branch that the managed copy stands on, as `newest`.

        Raises:
            GitError: it has no commit.
        """
        head = await self._git.text("rev-parse", "--verify", "HEAD^{commit}", at=at)
        name = await self._git.text("rev-parse", "--abbrev-ref", "HEAD", at=at)
        if name == "HEAD":
            return Branch(name, head)  # it stands on a commit and no branch
        return await self.newest(at, name) or Branch(name, head)

    async def contains(self, at: Place, newer: str, older: str) -> bool:
        """Whether a commit has another one among its ancestors, or is the same."""
        try:
            await self._git.output("merge-base", "--is-ancestor", older, newer, at=at)
        except GitTimeout:
            raise
        except GitError:
            return False
        return True

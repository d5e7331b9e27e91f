"""What an agent has committed in its container, brought to the session's branch of the managed copy."""

import asyncio
import contextlib
from dataclasses import dataclass

from runyard_workspace.adapters.branches import Branches
from runyard_workspace.adapters.git import Git, GitError
from runyard_workspace.adapters.git_folder import GitFolder
from runyard_workspace.adapters.sandboxes import SandboxPlace
from runyard_workspace.adapters.takeover import NotTaken, Takeover
from runyard_workspace.adapters.tree import TreeError
from runyard_workspace.domain.layout import session_ref
from runyard_workspace.domain.takeover import Verdict, verdict

NOTHING = ""
"""As the former value of a ref: it must not be there yet."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a branch that was found elsewhere in the container. On a conflict it is kept at `ref`."""

    verdict: Verdict
    commit: str
    previous: str | None
    ref: str | None = None


class SandboxCommits:
    """Takes commits over, and tells the container's side where the branch is."""

    def __init__(self, git: Git, branches: Branches, takeover: Takeover) -> None:
        self._git = git
        self._branches = branches
        self._takeover = takeover

    async def agree(self, place: SandboxPlace, session_id: str) -> None:
        """Notes that the container's side has been given the branch as it is."""
        commit = await self._branches.commit(place.common_place, place.ref)
        if commit:
            await self._move(place, {session_ref(session_id, "agreed"): (commit, None)})

    async def take(self, place: SandboxPlace, session_id: str) -> Taken | None:
        """Brings the branch to where the container has it; None when there is nothing new to say.

        Raises:
            NotTaken: what is in there is not taken.
            GitError: the managed copy's branch cannot be moved.
            OSError: the disk refuses.
        """
        agreed_ref, diverged_ref = session_ref(session_id, "agreed"), session_ref(session_id, "diverged")
        theirs = await self._theirs(place)
        ours, agreed, diverged = await asyncio.gather(
            *(self._branches.commit(place.common_place, ref) for ref in (place.ref, agreed_ref, diverged_ref))
        )
        if theirs is None or theirs in (ours, agreed, diverged):
            return None
        await self._takeover.bring(theirs, GitFolder(place.git), place.common)
        forward = ours is not None and await self._branches.contains(place.common_place, theirs, ours)
        decided = verdict(ours=ours, theirs=theirs, agreed=agreed, forward=forward)
        if decided == "conflict":
            await self._move(place, {diverged_ref: (theirs, None)})
            return Taken(decided, theirs, ours, diverged_ref)
        moves: dict[str, tuple[str, str | None]] = {place.ref: (theirs, ours or NOTHING), agreed_ref: (theirs, None)}
        if decided == "rewritten" and ours:
            moves[session_ref(session_id, f"rewritten/{ours}")] = (ours, None)
        await self._move(place, moves)
        await self.follow(place, theirs)
        return Taken(decided, theirs, ours)

    async def follow(self, place: SandboxPlace, commit: str) -> None:
        """Brings the managed copy's own index of the worktree to its branch, without touching a file."""
        with contextlib.suppress(GitError):
            head = await self._git.text("symbolic-ref", "-q", "HEAD", at=place.at)
            if head == place.ref:
                await self._git.output("read-tree", "-i", "-m", commit, at=place.at)

    async def _theirs(self, place: SandboxPlace) -> str | None:
        try:
            return await asyncio.to_thread(GitFolder(place.git).ref, place.ref)
        except TreeError as error:
            raise NotTaken("damaged", f"The container's branch cannot be read: {error}") from error

    async def _move(self, place: SandboxPlace, moves: dict[str, tuple[str, str | None]]) -> None:
        """Moves refs all or none; each with its new commit and the former one, None for whatever it was."""
        lines = [
            f"update {ref} {new}" + ("" if old is None else f" {old or '0' * len(new)}")
            for ref, (new, old) in moves.items()
        ]
        await self._git.output(
            "update-ref", "--no-deref", "--stdin", at=place.common_place, stdin="\n".join([*lines, ""]).encode()
        )

"""What a session has worked out as a commit on its branch, whether the agent has committed it or not."""

import asyncio
import contextlib
from dataclasses import dataclass
from datetime import datetime

from runyard_workspace.adapters.branches import Branches
from runyard_workspace.adapters.git import Git, GitError
from runyard_workspace.adapters.git_folder import GitFolder
from runyard_workspace.adapters.sandbox_commits import SandboxCommits
from runyard_workspace.adapters.sandboxes import SandboxPlace
from runyard_workspace.adapters.snapshots import Snapshots
from runyard_workspace.adapters.tree import TreeError

WHO = {
    "GIT_AUTHOR_NAME": "Runyard", "GIT_AUTHOR_EMAIL": "agent@runyard.invalid",
    "GIT_COMMITTER_NAME": "Runyard", "GIT_COMMITTER_EMAIL": "agent@runyard.invalid",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Settled:
    """The branch with everything on it; `left_out` are files too large for it, or none that Git can keep."""

    commit: str
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class SessionCommits:
    """Commits what is not committed."""

    git: Git
    branches: Branches
    snapshots: Snapshots
    commits: SandboxCommits

    async def settle(self, place: SandboxPlace, session_id: str, message: str, when: datetime) -> Settled:
        """The commit that has all that the session has worked out; made now, if files have changed since the last.

        Raises:
            GitError: Git cannot read the files, or the branch was moved meanwhile.
        """
        tip = await self.branches.commit(place.common_place, place.ref)
        parent = tip or await self.git.text("rev-parse", "--verify", "HEAD^{commit}", at=place.at)
        async with self.snapshots.scratch() as folder:
            snapshot = await self.snapshots.take(place.at, folder)
        if snapshot.tree == await self.git.text("rev-parse", f"{parent}^{{tree}}", at=place.common_place):
            return Settled(parent, snapshot.skipped)
        stamp = f"{int(when.timestamp())} +0000"
        made = await self.git.output(
            "commit-tree", snapshot.tree, "-p", parent, "-F", "-",
            at=place.common_place, stdin=message.encode(),
            env=WHO | {"GIT_AUTHOR_DATE": stamp, "GIT_COMMITTER_DATE": stamp},
        )  # fmt: skip
        commit = made.decode().strip()
        await self.git.output("update-ref", "--no-deref", place.ref, commit, tip or "", at=place.common_place)
        await self.commits.follow(place, commit)
        if await asyncio.to_thread(lambda: place.exists):
            await self._tell_container(place, session_id, commit, parent)
        return Settled(commit, snapshot.skipped)

    async def _tell_container(self, place: SandboxPlace, session_id: str, commit: str, parent: str) -> None:
        """Moves the container's branch along, or else the agent would see all that as not committed."""
        private = GitFolder(place.git)
        with contextlib.suppress(GitError):
            await self.git.output("update-index", "-q", "--refresh", at=place.at)
        # Where the agent is at work on its branch just now, the two have parted, which is noticed when it is taken.
        with contextlib.suppress(TreeError, OSError):
            await asyncio.to_thread(private.move_ref, place.ref, commit, parent)
            await self.commits.agree(place, session_id)
            if await asyncio.to_thread(private.head) == place.ref:
                index = await asyncio.to_thread((place.record / "index").read_bytes)
                await asyncio.to_thread(private.put_index, index)

"""Fetches from a workspace's remote and pushes to it, from a Git directory of our own (`clean_room`)."""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from runyard_workspace.adapters.branches import HEADS, REMOTES
from runyard_workspace.adapters.clean_room import CleanRooms
from runyard_workspace.adapters.following import Tell, follow
from runyard_workspace.adapters.git import Git, GitError
from runyard_workspace.adapters.guard import Guard
from runyard_workspace.adapters.place import Place
from runyard_workspace.adapters.signing_in import offered
from runyard_workspace.domain.credentials import Credential
from runyard_workspace.domain.failures import Failure
from runyard_workspace.domain.progress import Progress
from runyard_workspace.domain.remotes import PushOutcome, SyncFailed, push_outcome, sync_failure

THEIRS = "refs/theirs"
TAGS = "refs/tags/"
MAX_FILES = 200
_ALONE = ("--no-recurse-submodules", "--no-auto-maintenance", "--no-write-fetch-head")


@dataclass(frozen=True, slots=True)
class Remote:
    """Where a workspace's repository comes from, and what is used to sign in there."""

    address: str
    protocols: tuple[str, ...]
    credential: Credential | None = None


@dataclass(frozen=True, slots=True)
class _Line:
    """A connection to be: where Git works, whom it talks to, who is told, and the objects that are watched."""

    at: Place
    remote: Remote
    tell: Tell
    objects: Path


@dataclass(frozen=True)
class Remotes:
    """Talks to remotes. Raises `SyncFailed` for whatever goes wrong there."""

    git: Git
    rooms: CleanRooms
    guard: Guard
    seconds: float

    async def fetch(self, common: Path, remote: Remote, tell: Tell) -> dict[str, str]:
        """Brings the remote's branches and new tags to the managed copy.

        Returns the branches that have changed and their commits, an empty one for a branch that is gone.
        """
        before = await self.rooms.refs(Place(common))
        async with self.rooms.around(common, before) as at:
            words = ("fetch", "--progress", "--prune", *_ALONE, remote.address, f"+{HEADS}*:{REMOTES}*")
            await self._talk(_Line(at, remote, tell, common / "objects"), words)
            after = await self.rooms.refs(at)
        changed = {
            ref: after.get(ref, "")
            for ref in {*before, *after}
            if ref.startswith(REMOTES) and before.get(ref) != after.get(ref)
        }
        tags = {ref: one for ref, one in after.items() if ref.startswith(TAGS) and ref not in before}
        await self._carry_over(common, changed | tags, before)
        return {ref.removeprefix(REMOTES): commit for ref, commit in sorted(changed.items())}

    async def push(self, common: Path, remote: Remote, commit: str, branch: str, tell: Tell) -> PushOutcome:
        """Puts a commit on a branch of the remote, if that loses nothing there.

        Raises:
            SyncFailed: with `conflict` and the files that both sides have changed, if the branch has moved on.
        """
        refs = await self.rooms.refs(Place(common))
        async with self.rooms.around(common, refs) as at:
            words = (
                "push", "--porcelain", "--progress", "--no-verify", "--no-signed", "--no-follow-tags",
                "--recurse-submodules=no", remote.address, f"{commit}:{HEADS}{branch}",
            )  # fmt: skip
            line = _Line(at, remote, tell, common / "objects")
            outcome = await self._push(line, words)
            if outcome == "conflict":
                raise SyncFailed("conflict", files=await self._both(line, commit, branch))
        with contextlib.suppress(GitError):  # it is on the remote; our own note of that is worth less
            await self._carry_over(common, {REMOTES + branch: commit}, refs)
        return outcome

    async def _push(self, line: _Line, words: Sequence[str]) -> PushOutcome:
        status, porcelain, said = await self._run(line, words)
        outcome = push_outcome(porcelain)
        if outcome is None:
            raise sync_failure(said) if status else SyncFailed("failed", "Git said nothing about the branch")
        if isinstance(outcome, SyncFailed):
            raise outcome
        return outcome

    async def _both(self, line: _Line, commit: str, branch: str) -> tuple[str, ...]:
        """The files that both the session and the remote's branch have changed since they parted."""
        words = ("fetch", "--progress", "--no-tags", *_ALONE, line.remote.address, f"+{HEADS}{branch}:{THEIRS}")
        await self._talk(line, words)
        at = line.at
        try:
            base = await self.git.text("merge-base", commit, THEIRS, at=at)
        except GitError:
            return ()  # they have nothing in common
        ours, theirs = await asyncio.gather(
            *(
                self.git.output("diff-tree", "-r", "-z", "--name-only", "--no-renames", base, tip, at=at)
                for tip in (commit, THEIRS)
            )
        )
        both = set(ours.split(b"\0")) & set(theirs.split(b"\0")) - {b""}
        return tuple(path.decode(errors="backslashreplace") for path in sorted(both))[:MAX_FILES]

    async def _talk(self, line: _Line, words: Sequence[str]) -> None:
        status, _, said = await self._run(line, words)
        if status:
            raise sync_failure(said)

    async def _run(self, line: _Line, words: Sequence[str]) -> tuple[int, str, str]:
        """Runs Git against the remote; returns its status, what it printed, and its last words without the secret."""
        remote = line.remote
        git = replace(self.git, protocols=remote.protocols)
        said: list[str] = []
        over: Failure | None = None
        try:
            async with asyncio.timeout(self.seconds), offered(remote.credential) as sign_in:
                env = {**line.at.environment(), **sign_in.env}
                started = git.start(*words, env=env, settings=sign_in.settings, dies_with_service=True)
                async with started as process:
                    assert process.stdout is not None and process.stderr is not None  # noqa: S101, PT018 - piped
                    guard = asyncio.ensure_future(self.guard.watch(line.objects, process))
                    try:
                        out, _ = await asyncio.gather(process.stdout.read(), follow(process.stderr, said, line.tell))
                        status = await process.wait()
                    finally:
                        over = guard.result() if guard.done() and not guard.cancelled() else None
                        guard.cancel()
                        await asyncio.gather(guard, return_exceptions=True)
        except TimeoutError:
            raise SyncFailed("timeout", f"more than {self.seconds:g} s") from None
        if over:
            raise SyncFailed("failed", over.message)
        text, printed = "\n".join(said), out.decode(errors="replace")
        if remote.credential:
            text, printed = remote.credential.clean(text), remote.credential.clean(printed)
        return status, printed, text

    async def _carry_over(self, common: Path, refs: dict[str, str], before: dict[str, str]) -> None:
        """Moves refs of the managed copy; deletions first, since a branch may have become a folder of branches."""
        gone = [f"delete {ref}" for ref, commit in refs.items() if not commit]
        moved = [f"update {ref} {commit}" for ref, commit in refs.items() if commit and before.get(ref) != commit]
        for lines in (gone, moved):
            if lines:
                text = "".join(f"{line}\n" for line in lines).encode()
                await self.git.output("update-ref", "--no-deref", "--stdin", at=Place(common), stdin=text)


async def untold(_: Progress) -> None:
    """For progress that nobody waits for."""

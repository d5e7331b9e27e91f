"""The files of a worktree as a Git tree, taken without touching the user's branch, index or HEAD.

The user's index is copied and the copy brought up to date, so only files that have changed are read
again. What is ignored stays out, and so does what would make the repository huge.
"""

import asyncio
import shutil
import stat
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from runyard_workspace.adapters.git import Git, GitError, GitTimeout, literal
from runyard_workspace.adapters.mirror import Mirror
from runyard_workspace.adapters.place import Place
from runyard_workspace.adapters.staging import Staging
from runyard_workspace.adapters.weighing import Plan, SnapshotLimits, statuses, weigh, whole

ATTEMPTS = 3
NOTHING = ""
"""As the old value of a ref: it must not be there yet."""
NOBODY = {
    "GIT_AUTHOR_NAME": "Runyard", "GIT_AUTHOR_EMAIL": "checkpoint@runyard.invalid",
    "GIT_COMMITTER_NAME": "Runyard", "GIT_COMMITTER_EMAIL": "checkpoint@runyard.invalid",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A tree, and the paths that it does not have as they are on disk."""

    tree: str
    skipped: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A snapshot kept as a commit on a hidden ref."""

    commit: str
    ref: str
    parent: str
    skipped: tuple[str, ...] = ()


class Snapshots:
    """Takes snapshots and keeps them."""

    def __init__(self, git: Git, scratch: Staging, limits: SnapshotLimits) -> None:
        self._git = git
        self._scratch = scratch
        self._limits = limits

    async def checkpoint(self, at: Place, *, ref: str, parent: str, message: str, when: datetime) -> Checkpoint:
        """Keeps the worktree as a commit on `ref`; a ref that is there already stays as it is.

        Args:
            at: the worktree.
            ref: the hidden ref of the run.
            parent: the checkpoint before this one, or the commit that the session started from.
            message: of the commit.
            when: the time of the commit, so that a repeated attempt makes the same one.

        Raises:
            GitError: the snapshot cannot be taken.
        """
        async with self._scratch.folder("checkpoint") as folder:
            snapshot, (existing, head) = await asyncio.gather(self.take(at, folder), self._commits(at, ref, "HEAD"))
        if existing is None:
            existing = await self._keep(at, snapshot.tree, ref, parents=(parent, head), message=message, when=when)
        else:
            parent = await self._git.text("rev-parse", f"{existing}^1", at=at)
        return Checkpoint(existing, ref, parent, snapshot.skipped)

    async def _keep(
        self,
        at: Place,
        tree: str,
        ref: str,
        *,
        parents: tuple[str, str | None],
        message: str,
        when: datetime,
    ) -> str:
        behind = [word for each in dict.fromkeys(parents) if each for word in ("-p", each)]
        stamp = f"{int(when.timestamp())} +0000"
        made = await self._git.output(
            "commit-tree", tree, *behind, "-m", message,
            at=at, env=NOBODY | {"GIT_AUTHOR_DATE": stamp, "GIT_COMMITTER_DATE": stamp},
        )  # fmt: skip
        commit = made.decode().strip()
        try:
            await self._git.output("update-ref", "--no-deref", ref, commit, NOTHING, at=at)
        except GitError:
            (existing,) = await self._commits(at, ref)
            if existing is None:
                raise
            return existing
        return commit

    async def take(self, at: Place, folder: Path, *, keep: bool = True) -> Snapshot:
        """The worktree as a tree. Its new objects go into the repository, or with `keep=False` into `folder`.

        Raises:
            GitError: Git cannot read the worktree.
        """
        index = folder / "index"
        objects = None if keep else await asyncio.to_thread(_folder, folder / "objects")
        own = at.with_index(index, objects)
        for attempt in range(1, ATTEMPTS + 1):
            try:
                # Once from the user's index; if that goes wrong, it may be damaged: then from the commit.
                await self._start_index(at, own, anew=attempt > 1)
                plan, filters = await asyncio.gather(self._plan(own), self._git.filters_off(at))
                out = await self._carry_out(plan, own, filters, folder / f"mirror-{attempt}")
                tree = await self._git.text("write-tree", at=own, timeout=self._limits.seconds)
            except GitTimeout:
                raise
            except GitError:
                # Or a process of the agent has changed files while they were being read.
                if attempt == ATTEMPTS:
                    raise
            else:
                skipped = sorted({*plan.skipped, *out})
                return Snapshot(tree, tuple(path.decode(errors="replace") for path in skipped))
        raise AssertionError("unreachable")

    def scratch(self) -> AbstractAsyncContextManager[Path]:
        """A folder for one index and one set of objects; gone afterwards."""
        return self._scratch.folder("diff")

    async def _start_index(self, at: Place, own: Place, *, anew: bool) -> None:
        assert at.git_dir is not None and own.index is not None  # noqa: S101, PT018 - a worktree has both
        if not anew and await asyncio.to_thread(_copy_index, at.git_dir / "index", own.index):
            return
        await asyncio.to_thread(own.index.unlink, missing_ok=True)
        (head,) = await self._commits(at, "HEAD")
        await self._git.output("read-tree", head or "--empty", at=own)

    async def _commits(self, at: Place, *names: str) -> list[str | None]:
        """The commits that names stand for, None for those that stand for nothing."""
        asked = "".join(f"{name}^{{commit}}\n" for name in names).encode()
        lines = (await self._git.output("cat-file", "--batch-check", at=at, stdin=asked)).decode().splitlines()
        return [line.split(" ")[0] if " commit " in line else None for line in lines]

    async def _plan(self, own: Place) -> Plan:
        assert own.work_tree is not None  # noqa: S101 - a worktree has one
        limit, seconds = self._limits.listing_bytes, self._limits.seconds
        changed, others = await asyncio.gather(
            self._git.output(
                "diff-files", "-z", "--name-status", "--no-renames", "--ignore-submodules=dirty",
                at=own, limit=limit, timeout=seconds,
            ),
            self._git.output(
                "ls-files", "-z", "--others", "--exclude-standard", at=own, limit=limit, timeout=seconds
            ),
        )  # fmt: skip
        deleted, modified = statuses(changed)
        untracked = whole(others)
        return await asyncio.to_thread(weigh, own.work_tree, deleted, modified, untracked, self._limits)

    async def _carry_out(self, plan: Plan, own: Place, filters: dict[str, str], folder: Path) -> tuple[bytes, ...]:
        """Brings the index up to date; returns the paths that could not be read."""
        assert own.work_tree is not None  # noqa: S101 - a worktree has one
        seconds = self._limits.seconds
        if plan.remove:
            await self._git.output(
                "update-index", "--force-remove", "-z", "--stdin",
                at=own, stdin=literal(plan.remove), timeout=seconds,
            )  # fmt: skip
        if not plan.add:
            return ()
        mirror = Mirror(own.work_tree, await asyncio.to_thread(_folder, folder), own.common_dir)
        copied = await asyncio.to_thread(mirror.bring, plan.add, self._limits.total_bytes)
        if copied.submodules:
            entries = b"".join(b"160000 %s\t%s\0" % (commit.encode(), path) for path, commit in copied.submodules)
            await self._git.output("update-index", "-z", "--index-info", at=own, stdin=entries, timeout=seconds)
        if copied.files:
            await self._git.output(
                "update-index", "--add", "--replace", "--remove", "-z", "--stdin",
                at=replace(own, work_tree=folder), stdin=literal(copied.files), settings=filters, timeout=seconds,
            )  # fmt: skip
        return copied.skipped


def _folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path


def _copy_index(source: Path, target: Path) -> bool:
    try:
        if not stat.S_ISREG(source.lstat().st_mode):
            return False
        # With its time: Git tells by it which entries may have changed within the clock's grain.
        shutil.copy2(source, target)
    except FileNotFoundError:
        return False
    return True

"""The files of a worktree as a Git tree, taken without touching the user's branch, index or HEAD.

The user's index is copied and the copy brought up to date, so only files that have changed are read
again. What is ignored stays out, and so does what would make the repository huge.
"""

import asyncio
import os
import shutil
import stat
from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from runyard_workspace.adapters.git import Git, GitError, GitTimeout, Place, literal
from runyard_workspace.adapters.staging import Staging

ATTEMPTS = 3
ZERO = "0" * 40
NOBODY = {
    "GIT_AUTHOR_NAME": "Runyard", "GIT_AUTHOR_EMAIL": "checkpoint@runyard.invalid",
    "GIT_COMMITTER_NAME": "Runyard", "GIT_COMMITTER_EMAIL": "checkpoint@runyard.invalid",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class SnapshotLimits:
    """How much of what has changed is taken into one snapshot; the rest is left out and named."""

    file_bytes: int = 20 * 1024**2
    total_bytes: int = 512 * 1024**2
    files: int = 50_000
    listing_bytes: int = 32 * 1024**2
    seconds: float = 120.0


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


@dataclass(frozen=True, slots=True)
class _Plan:
    add: tuple[bytes, ...]
    remove: tuple[bytes, ...]
    skipped: tuple[bytes, ...]


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
        if existing := await self.commit_of(at, ref):
            return Checkpoint(existing, ref, await self._git.text("rev-parse", f"{existing}^1", at=at))
        async with self._scratch.folder("checkpoint") as folder:
            snapshot = await self.take(at, folder)
        head = await self.commit_of(at, "HEAD")
        parents = [parent, *([head] if head and head != parent else [])]
        stamp = f"{int(when.timestamp())} +0000"
        made = await self._git.output(
            "commit-tree", snapshot.tree, *(word for each in parents for word in ("-p", each)), "-m", message,
            at=at, env=NOBODY | {"GIT_AUTHOR_DATE": stamp, "GIT_COMMITTER_DATE": stamp},
        )  # fmt: skip
        commit = made.decode().strip()
        try:
            await self._git.output("update-ref", "--no-deref", ref, commit, ZERO, at=at)
        except GitError:
            if existing := await self.commit_of(at, ref):
                return Checkpoint(existing, ref, parent)
            raise
        return Checkpoint(commit, ref, parent, snapshot.skipped)

    async def take(self, at: Place, folder: Path, *, keep: bool = True) -> Snapshot:
        """The worktree as a tree. Its new objects go into the repository, or with `keep=False` into `folder`.

        Raises:
            GitError: Git cannot read the worktree.
        """
        index = folder / "index"
        objects = None if keep else await asyncio.to_thread(_folder, folder / "objects")
        own = at.with_index(index, objects)
        filters = await self._git.filters_off(at)
        for attempt in range(1, ATTEMPTS + 1):
            await self._start_index(at, own)
            try:
                plan = await self._plan(own)
                await self._carry_out(plan, own, filters)
                tree = await self._git.text("write-tree", at=own, timeout=self._limits.seconds)
            except GitTimeout:
                raise
            except GitError:
                # A process of the agent may be changing files while they are being read.
                if attempt == ATTEMPTS:
                    raise
            else:
                return Snapshot(tree, tuple(path.decode(errors="replace") for path in plan.skipped))
        raise AssertionError("unreachable")

    async def commit_of(self, at: Place, name: str) -> str | None:
        """The commit that a name stands for, None when there is none."""
        try:
            return await self._git.text("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}", at=at)
        except GitTimeout:
            raise
        except GitError:
            return None

    def scratch(self) -> AbstractAsyncContextManager[Path]:
        """A folder for one index and one set of objects; gone afterwards."""
        return self._scratch.folder("diff")

    async def _start_index(self, at: Place, own: Place) -> None:
        assert at.git_dir is not None and own.index is not None  # noqa: S101, PT018 - a worktree has both
        copied = await asyncio.to_thread(_copy_index, at.git_dir / "index", own.index)
        if copied:
            try:
                await self._git.output("ls-files", "--unmerged", "-z", at=own, limit=1)
            except GitError:
                copied = False  # damaged, or of a kind that this Git does not read
        if not copied:
            await asyncio.to_thread(own.index.unlink, missing_ok=True)
            await self._git.output("read-tree", "HEAD" if await self.commit_of(at, "HEAD") else "--empty", at=own)

    async def _plan(self, own: Place) -> _Plan:
        assert own.work_tree is not None  # noqa: S101 - a worktree has one
        limit, seconds = self._limits.listing_bytes, self._limits.seconds
        changed = await self._git.output(
            "diff-files", "-z", "--name-status", "--no-renames", "--ignore-submodules=dirty",
            at=own, limit=limit, timeout=seconds,
        )  # fmt: skip
        others = await self._git.output(
            "ls-files", "-z", "--others", "--exclude-standard", at=own, limit=limit, timeout=seconds
        )
        deleted, modified = _statuses(changed)
        untracked = _whole(others)
        return await asyncio.to_thread(_weigh, own.work_tree, deleted, modified, untracked, self._limits)

    async def _carry_out(self, plan: _Plan, own: Place, filters: dict[str, str]) -> None:
        seconds = self._limits.seconds
        if plan.remove:
            await self._git.output(
                "update-index", "--force-remove", "-z", "--stdin",
                at=own, stdin=literal(plan.remove), timeout=seconds,
            )  # fmt: skip
        if plan.add:
            await self._git.output(
                "update-index", "--add", "--replace", "--remove", "-z", "--stdin",
                at=own, stdin=literal(plan.add), settings=filters, timeout=seconds,
            )  # fmt: skip


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


def _whole(listing: bytes) -> list[bytes]:
    """The complete entries of a `-z` listing, which may have been cut."""
    return [path for path in listing.split(b"\0")[:-1] if path]


def _statuses(listing: bytes) -> tuple[set[bytes], set[bytes]]:
    entries = iter(_whole(listing))
    deleted: set[bytes] = set()
    modified: set[bytes] = set()
    for status in entries:
        path = next(entries, None)
        if path is not None:
            (deleted if status == b"D" else modified).add(path)
    return deleted - modified, modified


def _weigh(
    root: Path, deleted: set[bytes], modified: set[bytes], untracked: Iterable[bytes], limits: SnapshotLimits
) -> _Plan:
    remove = set(deleted)
    skipped: list[bytes] = []
    candidates: list[tuple[int, bytes]] = []
    base = os.fsencode(root)
    for path in (*modified, *untracked):
        kind = _kind(os.path.join(base, path), tracked=path in modified)  # noqa: PTH118 - bytes
        if isinstance(kind, int):
            candidates.append((kind, path))
        elif kind == "gone":
            remove.add(path)
        else:
            skipped.append(path)
    total = 0
    add: list[bytes] = []
    for size, path in sorted(candidates):
        total += size
        fits = size <= limits.file_bytes and total <= limits.total_bytes and len(add) < limits.files
        (add if fits else skipped).append(path)
    return _Plan(tuple(add), tuple(remove), tuple(sorted(skipped)))


def _kind(path: bytes, *, tracked: bool) -> int | str:
    """The size of what Git can keep, "gone" for what is no file any more, "skip" for what it cannot keep."""
    try:
        found = os.lstat(path)
    except OSError:
        return "gone"
    if stat.S_ISLNK(found.st_mode):
        return 0
    if stat.S_ISREG(found.st_mode):
        return found.st_size if os.access(path, os.R_OK) else "skip"
    if stat.S_ISDIR(found.st_mode) and not path.endswith(b"/"):
        # A tracked folder is a submodule, as long as it still is a repository.
        return 0 if os.path.exists(os.path.join(path, b".git")) else "gone"  # noqa: PTH110, PTH118 - bytes
    return "gone" if tracked else "skip"

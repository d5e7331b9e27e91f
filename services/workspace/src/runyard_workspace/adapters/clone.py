"""A clone that is watched: progress told, size and time held, and all or nothing on disk."""

import asyncio
import contextlib
import errno
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path

from runyard_workspace.adapters.git import Git, GitError, GitTimeout, kill_group
from runyard_workspace.adapters.place import Place
from runyard_workspace.adapters.removal import folder_size, remove_folder
from runyard_workspace.adapters.staging import Staging
from runyard_workspace.domain.failures import Failure, classify, failure
from runyard_workspace.domain.progress import Pace, Progress, parse_progress
from runyard_workspace.domain.sources import LocalSource, Source

MAX_LINE = 8 * 1024
KEPT_LINES = 40

Tell = Callable[[Progress], Awaitable[None]]


class CloneFailed(Exception):
    """The repository could not be had; nothing of it is on disk."""

    def __init__(self, cause: Failure) -> None:
        super().__init__(cause.message)
        self.failure = cause


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a repository may cost."""

    seconds: float = 900.0
    size_bytes: int = 4 * 1024**3
    entries: int = 2_000_000
    spare_bytes: int = 256 * 1024**2
    watch_seconds: float = 0.5


@dataclass(frozen=True, slots=True)
class Cloned:
    """A finished managed copy."""

    path: Path
    head_commit: str
    default_branch: str
    size_bytes: int


class Cloner:
    """Clones into a staging folder and moves the finished copy to its place in one step."""

    def __init__(self, git: Git, staging: Staging, limits: Limits, protocols: tuple[str, ...]) -> None:
        self._git = git
        self._protocols = protocols
        self._staging = staging
        self._limits = limits

    async def clone(self, source: Source, target: Path, owner: str, tell: Tell) -> Cloned:
        """Makes the managed copy of a source at `target`.

        A copy that is already there (an attempt that died after the move) is taken as it is.

        Raises:
            CloneFailed: with the reason that the asker is told.
        """
        await self._staging.sweep(owner)
        if (target / ".git").is_dir():
            return await self._inspect(target)
        async with self._staging.folder(owner) as staging:
            copy = staging / "repo"
            try:
                await self._clone(source, copy, tell)
                await self._settle_branch(copy)
                cloned = await self._inspect(copy)
                await asyncio.to_thread(_move, copy, target)
            except OSError as error:
                raise CloneFailed(_disk_failure(error)) from error
        return Cloned(target, cloned.head_commit, cloned.default_branch, cloned.size_bytes)

    async def discard(self, target: Path, owner: str) -> None:
        """Takes a managed copy and what attempts have left of it off the disk."""
        await self._staging.sweep(owner)
        await asyncio.to_thread(remove_folder, target)

    async def _clone(self, source: Source, copy: Path, tell: Tell) -> None:
        git, address = await self._way_to(source)
        said: list[str] = []
        args = (
            "clone",
            "--progress",
            "--no-local",
            "--template=",
            "--origin=origin",
            "--",
            address,
            str(copy),
        )
        try:
            async with asyncio.timeout(self._limits.seconds):
                async with git.start(*args, dies_with_service=True) as process:
                    verdict = asyncio.ensure_future(self._watch(copy.parent, process))
                    try:
                        await self._follow(process, said, tell)
                        status = await process.wait()
                    finally:
                        verdict.cancel()
                        over = await asyncio.gather(verdict, return_exceptions=True)
        except TimeoutError:
            raise CloneFailed(failure("timeout", f"more than {self._limits.seconds:g} s")) from None
        if isinstance(over[0], Failure):
            raise CloneFailed(over[0])
        if status != 0:
            raise CloneFailed(classify("\n".join(said)))
        if too_much := await self._measure(copy.parent):
            raise CloneFailed(too_much)

    async def _way_to(self, source: Source) -> tuple[Git, str]:
        """The Git to use and the address to give it: only a local source may use the `file` transport."""
        if isinstance(source, LocalSource):
            await self._check_local(source.path)
            return replace(self._git, protocols=("file",)), str(source.path)
        return replace(self._git, protocols=self._protocols), source.url

    async def _check_local(self, path: Path) -> None:
        if not await asyncio.to_thread(path.is_dir):
            raise CloneFailed(failure("not_found", f"there is no folder {path}"))
        try:
            # A ceiling keeps Git from finding the repository of a folder further up.
            await self._git.output(
                "-C", str(path), "rev-parse", "--git-dir", env={"GIT_CEILING_DIRECTORIES": str(path.parent)}
            )
        except GitError:
            top = await self._top_of(path)
            hint = f"{path} is a folder inside the repository {top}: import that one" if top else f"{path} is none"
            raise CloneFailed(failure("not_a_repository", hint)) from None

    async def _top_of(self, path: Path) -> str | None:
        with contextlib.suppress(GitError):
            return await self._git.text("-C", str(path), "rev-parse", "--show-toplevel") or None
        return None

    async def _follow(self, process: asyncio.subprocess.Process, said: list[str], tell: Tell) -> None:
        assert process.stderr is not None  # noqa: S101 - always piped
        pace = Pace()
        async for line in _lines(process.stderr):
            progress = parse_progress(line)
            if progress is None:
                said.append(line)
                del said[:-KEPT_LINES]
            elif pace.due(progress, time.monotonic()):
                await tell(progress)

    async def _watch(self, folder: Path, process: asyncio.subprocess.Process) -> Failure:
        """Kills the clone when it grows past the limit; ends only then."""
        while True:
            started = time.monotonic()
            if too_much := await self._measure(folder):
                kill_group(process)
                return too_much
            # A large tree is looked at less often, so that watching stays a small part of the work.
            await asyncio.sleep(max(self._limits.watch_seconds, 5 * (time.monotonic() - started)))

    async def _measure(self, folder: Path) -> Failure | None:
        size, entries = await asyncio.to_thread(folder_size, folder)
        if size > self._limits.size_bytes:
            return failure("too_large", f"more than {self._limits.size_bytes // 1024**2} MiB")
        if entries > self._limits.entries:
            return failure("too_large", f"more than {self._limits.entries} files")
        free = (await asyncio.to_thread(shutil.disk_usage, folder)).free
        return failure("disk_full") if free < self._limits.spare_bytes else None

    async def _settle_branch(self, copy: Path) -> None:
        """A remote may name a branch that it does not have: then another of its branches is checked out."""
        at = Place(copy / ".git", work_tree=copy)
        if await self._commit(at, "HEAD"):
            return
        listed = await self._git.text("for-each-ref", "--format=%(refname:lstrip=3)", "refs/remotes/origin", at=at)
        branches = sorted(
            (name for name in listed.split("\n") if name and name != "HEAD"),
            key=lambda name: (name not in ("main", "master"), name),
        )
        if not branches:
            raise CloneFailed(failure("empty"))
        await self._git.output(
            "-C", str(copy), "checkout", "-q", "-B", branches[0], f"refs/remotes/origin/{branches[0]}",
            at=at, timeout=self._limits.seconds,
        )  # fmt: skip

    async def _commit(self, at: Place, name: str) -> str | None:
        try:
            return await self._git.text("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}", at=at)
        except GitTimeout:
            raise
        except GitError:
            return None

    async def _inspect(self, copy: Path) -> Cloned:
        at = Place(copy / ".git", work_tree=copy)
        head = await self._commit(at, "HEAD")
        if head is None:
            raise CloneFailed(failure("empty"))
        branch = await self._git.text("rev-parse", "--abbrev-ref", "HEAD", at=at)
        size, _ = await asyncio.to_thread(folder_size, copy)
        return Cloned(copy, head, branch, size)


def _move(copy: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        copy.rename(target)
    except OSError as error:
        # The same command was carried out twice at once and the other attempt was first: one copy is enough.
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise


def _disk_failure(error: OSError) -> Failure:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return failure("disk_full")
    return failure("failed", error.strerror or "")


async def _lines(stream: asyncio.StreamReader) -> AsyncIterator[str]:
    """Lines that end with a newline or, as progress does, with a carriage return."""
    rest = b""
    while chunk := await stream.read(4096):
        *lines, rest = (rest + chunk).replace(b"\r", b"\n").split(b"\n")
        rest = rest[-MAX_LINE:]
        for line in lines:
            if line.strip():
                yield line.decode(errors="replace")
    if rest.strip():
        yield rest.decode(errors="replace")

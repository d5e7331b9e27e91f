"""Git as a child process that cannot ask, cannot run what a repository brings along, and cannot outlive us.

A repository is somebody else's, and a worktree has been in an agent's hands: neither its hooks, filters,
helpers nor its `.git` file may decide what this service executes or where it writes. Repositories are
therefore always addressed explicitly (`Place`), never discovered from a folder.
"""

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from runyard_workspace.adapters.git_environment import git_environment
from runyard_workspace.adapters.place import Place
from runyard_workspace.adapters.stalls import stalled, what_stalls

TAIL = 16 * 1024
CHUNK = 64 * 1024
PR_SET_PDEATHSIG = 1
_LIMITED = 'ulimit -d "$1" && shift && exec "$@"'
"""By a shell, because a limit set from here would need a fork or come too late."""


class GitError(Exception):
    """Git ended with an error. `stderr` holds the last of what it said."""

    def __init__(self, command: str, returncode: int | None, stderr: str) -> None:
        super().__init__(f"git {command} ended with {returncode}: {stderr.strip()[-500:]}")
        self.command = command
        self.returncode = returncode
        self.stderr = stderr

    @property
    def last_words(self) -> str:
        """The last line of what Git said, or else how it ended."""
        lines = [line for line in self.stderr.splitlines() if line.strip()]
        return lines[-1][:300] if lines else f"git {self.command} ended with {self.returncode}"


class GitTimeout(GitError):
    """Git did not end in time and was killed."""


class GitStalled(GitTimeout):
    """Git waited for a file of the worktree that would not be read, and was killed. `stderr` says what it may be."""


@dataclass(frozen=True)
class Git:
    """Runs Git. `protocols` are the only transports that it may use: none, unless it is there to clone."""

    executable: str = "git"
    protocols: tuple[str, ...] = ()
    low_speed_bytes: int = 1000
    low_speed_seconds: int = 30
    timeout: float = 60.0

    async def text(self, *args: str, at: Place | None = None, timeout: float | None = None) -> str:  # noqa: ASYNC109 - the process is killed at the time-out
        """Runs a command and returns what it printed, without the line end."""
        return (await self.output(*args, at=at, timeout=timeout)).decode(errors="surrogateescape").rstrip("\n")

    async def output(
        self,
        *args: str,
        at: Place | None = None,
        stdin: bytes | None = None,
        env: Mapping[str, str] | None = None,
        settings: Mapping[str, str] | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
        limit: int | None = None,
        memory: int | None = None,
    ) -> bytes:
        """Runs a command and returns its standard output.

        With a `limit`, the output is cut there and the process killed: the caller gets `limit + 1` bytes.
        With `memory`, neither it nor what it starts may take more bytes than that each.

        Raises:
            GitError: it ended with another status than 0.
            GitTimeout: it did not end within `timeout` seconds.
            GitStalled: it waited for a file of the worktree.
        """
        environment = {**(at.environment() if at else {}), **(env or {})}
        async with self.start(
            *args, env=environment, settings=settings, stdin=stdin is not None, memory=memory
        ) as process:
            try:
                async with asyncio.timeout(timeout or self.timeout), _not_stalling(process, args[0], at):
                    out, err = await _communicate(process, stdin, limit)
                    cut = limit is not None and len(out) > limit
                    if cut:
                        kill_group(process)
                    status = await process.wait()
            except TimeoutError:
                raise GitTimeout(args[0], None, "it took too long") from None
        if status != 0 and not cut:
            raise GitError(args[0], status, err.decode(errors="replace"))
        return out

    @asynccontextmanager
    async def start(
        self,
        *args: str,
        env: Mapping[str, str] | None = None,
        settings: Mapping[str, str] | None = None,
        stdin: bool = False,
        cwd: Path | None = None,
        dies_with_service: bool = False,
        memory: int | None = None,
    ) -> AsyncGenerator[asyncio.subprocess.Process]:
        """A running Git in a process group of its own; on the way out, what is left of it is killed.

        One that `dies_with_service` is started by fork, for which the event loop stands still 10 ms or more;
        the others by vfork, which takes half of one. A service that is killed leaves those to their end.
        """
        limited = ("sh", "-c", _LIMITED, "git", str(memory // 1024)) if memory else ()
        process = await asyncio.create_subprocess_exec(
            *limited,
            self.executable,
            *args,
            cwd=cwd or "/",
            env=self.environment(settings) | dict(env or {}),
            stdin=asyncio.subprocess.PIPE if stdin else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
            preexec_fn=_die_with_parent() if dies_with_service else None,
        )
        try:
            yield process
        finally:
            kill_group(process)
            await asyncio.shield(process.wait())

    def environment(self, settings: Mapping[str, str] | None = None) -> dict[str, str]:
        """The whole environment of a Git process that this tool starts."""
        slow = {
            "http.lowSpeedLimit": str(self.low_speed_bytes),
            "http.lowSpeedTime": str(self.low_speed_seconds),
        }
        return git_environment(self.protocols, {**slow, **(settings or {})})

    async def filters_off(self, at: Place) -> dict[str, str]:
        """Settings that switch off every content filter which the repository's configuration names.

        A filter is a command line that Git would run on adding or checking out a file.
        """
        try:
            listed = await self.output("config", "--includes", "-z", "--name-only", "--get-regexp", r"^filter\.", at=at)
        except GitError:
            return {}  # status 1: none is configured
        settings: dict[str, str] = {}
        for name in listed.decode(errors="surrogateescape").split("\0"):
            base, _, last = name.rpartition(".")
            if last in ("clean", "smudge", "process"):
                settings[name] = ""
            if base:
                settings[f"{base}.required"] = "false"
        return settings


def kill_group(process: asyncio.subprocess.Process) -> None:
    """Kills a process and everything in its group. Helpers of Git (https, index-pack) live there too."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


@asynccontextmanager
async def _not_stalling(process: asyncio.subprocess.Process, command: str, at: Place | None) -> AsyncGenerator[None]:
    """Kills Git when it waits for a file of the worktree that it works in.

    Raises:
        GitStalled: at the end of the block, if that has happened.
    """
    if at is None or at.work_tree is None:
        yield
        return
    watch = asyncio.ensure_future(stalled(process.pid))
    watch.add_done_callback(lambda watched: None if watched.cancelled() else kill_group(process))
    try:
        yield
    finally:
        watch.cancel()
    if watch.done() and not watch.cancelled():
        raise GitStalled(command, None, await asyncio.to_thread(what_stalls, at.work_tree))


async def _communicate(
    process: asyncio.subprocess.Process, stdin: bytes | None, limit: int | None
) -> tuple[bytes, bytes]:
    assert process.stdout is not None and process.stderr is not None  # noqa: S101, PT018 - both are always piped
    feeding = asyncio.ensure_future(_feed(process, stdin))
    errors = asyncio.ensure_future(read_tail(process.stderr))
    try:
        out = await _read_up_to(process.stdout, limit)
        if limit is not None and len(out) > limit:
            return out, b""
        await feeding
        return out, await errors
    finally:
        feeding.cancel()
        errors.cancel()
        await asyncio.gather(feeding, errors, return_exceptions=True)


async def _feed(process: asyncio.subprocess.Process, data: bytes | None) -> None:
    if process.stdin is None or process.stdin.is_closing() or data is None:
        return  # one that has ended already took nothing
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        process.stdin.write(data)
        await process.stdin.drain()
    process.stdin.close()


async def _read_up_to(stream: asyncio.StreamReader, limit: int | None) -> bytes:
    parts: list[bytes] = []
    size = 0
    while chunk := await stream.read(CHUNK):
        parts.append(chunk)
        size += len(chunk)
        if limit is not None and size > limit:
            return b"".join(parts)[: limit + 1]
    return b"".join(parts)


async def read_tail(stream: asyncio.StreamReader, keep: int = TAIL) -> bytes:
    """Reads a stream to its end and returns the last `keep` bytes: the reader must never stall the writer."""
    tail = b""
    while chunk := await stream.read(CHUNK):
        tail = (tail + chunk)[-keep:]
    return tail


def literal(paths: Sequence[bytes]) -> bytes:
    """Paths as Git reads them from standard input with `-z`."""
    return b"".join(path + b"\0" for path in paths)


def _die_with_parent() -> Callable[[], object] | None:
    """A clone must not go on after the service was killed: nobody would look after its size or its end."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl  # before the fork: the child imports nothing
    return lambda: prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

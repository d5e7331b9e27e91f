"""Agents as child processes: own session, dying with the runner, killed with everything they started.

An agent starts commands in sessions of their own (a terminal each), so its process group alone does not
hold them. Every agent therefore carries a mark in its environment, which its commands inherit: the mark
finds them even after the agent itself has died. It names the runner, so that a later runner can tell
the orphans of a dead one from the children of one that lives.
"""

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

MARK = "RUNYARD_AGENT_MARK"
CHUNK = 256 * 1024
MAX_LINE = 32 * 1024 * 1024
PR_SET_PDEATHSIG = 1
POLL = 0.02
KILL_ROUNDS = 5
KERNEL = 2
"""Pid of the parent of the kernel's own threads."""
_MARK_KEY = f"{MARK}=".encode()


class LineTooLong(Exception):
    """A native line is longer than the reader accepts."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Whose child a process is: agents folder, runner's pid and start time, and one id per agent process."""

    folder: str
    runner: int
    started: str
    agent: str

    def __str__(self) -> str:
        return f"{self.folder}|{self.runner}|{self.started}|{self.agent}"

    @classmethod
    def new(cls, folder: Path) -> "Mark":
        return cls(str(folder), os.getpid(), start_time(os.getpid()) or "", uuid.uuid4().hex)

    @classmethod
    def parse(cls, text: str) -> "Mark | None":
        match text.split("|"):
            case [folder, runner, started, agent] if runner.isdigit():
                return cls(folder, int(runner), started, agent)
            case _:
                return None

    @property
    def orphaned(self) -> bool:
        """The runner that started this process is gone."""
        return start_time(self.runner) != self.started


class Child:
    """A running agent process with line-wise output."""

    def __init__(self, process: asyncio.subprocess.Process, mark: Mark) -> None:
        self.process = process
        self.mark = mark
        self.pid = process.pid
        self._started = start_time(process.pid)

    @property
    def alive(self) -> bool:
        return self.process.returncode is None

    async def write(self, data: bytes) -> None:
        """Write to the child's stdin; raises BrokenPipeError or ConnectionResetError when it is gone."""
        stdin = self.process.stdin
        if stdin is None or stdin.is_closing():
            raise BrokenPipeError("the agent's stdin is closed")
        stdin.write(data)
        await stdin.drain()

    async def lines(self) -> AsyncIterator[bytes]:
        """Lines of stdout without their end, up to `MAX_LINE` bytes each."""
        assert self.process.stdout is not None  # noqa: S101 - `spawn` always pipes it
        async for line in split_lines(self.process.stdout):
            yield line

    async def exited(self) -> None:
        """Waits for the child's own end, also while something that it started still holds its output open."""
        if not self.alive:
            return
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return
        except (AttributeError, OSError):
            await self.process.wait()
            return
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        loop.add_reader(handle, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(handle)
            os.close(handle)

    def family(self) -> dict[int, str]:
        """The child, its descendants and everything with its mark: pid -> start time."""
        return _families(lambda found: found == self.mark, root=(self.pid, self._started))

    async def stop(self, *, grace: float = 3.0) -> None:
        """TERM, then KILL after `grace` seconds, for the child and everything that it has started."""
        await _end(self.family, grace)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.process.wait(), 1.0)
        await self._see_out()

    async def _see_out(self) -> None:
        """A pipe with more in it than was read keeps its file open until its end has been seen."""
        for stream in (self.process.stdout, self.process.stderr):
            # Somebody may still be reading: then they will see it.
            with contextlib.suppress(RuntimeError, TimeoutError):
                async with asyncio.timeout(1.0):
                    while stream and await stream.read(CHUNK):
                        pass


async def spawn(
    argv: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    folder: Path,
    stderr: int = asyncio.subprocess.DEVNULL,
) -> Child:
    """Start an agent process in a session of its own. `folder` is the runner's agents folder (for the mark).

    Who asks for a pipe as `stderr` reads `Child.process.stderr` to its end. Raises OSError when the program
    cannot be started.
    """
    mark = Mark.new(folder)
    process = await asyncio.create_subprocess_exec(
        *argv,
        cwd=cwd,
        env={**env, MARK: str(mark)},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=stderr,
        start_new_session=True,
        preexec_fn=_die_with_parent(),
        limit=CHUNK,
    )
    return Child(process, mark)


async def split_lines(stream: asyncio.StreamReader, limit: int = MAX_LINE) -> AsyncIterator[bytes]:
    """Lines of a stream, each at most `limit` bytes. Raises `LineTooLong`."""
    rest: list[bytes] = []
    size = 0
    while chunk := await stream.read(CHUNK):
        *complete, tail = chunk.split(b"\n")
        for part in complete:
            rest.append(part)
            yield b"".join(rest)
            rest, size = [], 0
        if tail:
            rest.append(tail)
            size += len(tail)
        if size > limit:
            raise LineTooLong(f"a line of more than {limit} bytes")
    if rest:
        yield b"".join(rest)


def orphans(folder: Path) -> dict[int, str]:
    """Processes that a dead runner of this agents folder has left: pid -> start time."""
    return _families(lambda mark: mark.folder == str(folder) and mark.orphaned)


async def reap_orphans(folder: Path, *, grace: float = 2.0) -> int:
    """End what a dead runner has left running; returns how many processes that were."""
    return await _end(lambda: orphans(folder), grace)


async def end_all(folder: Path, *, grace: float = 3.0) -> int:
    """End every agent of this runner at once, with all that they have started."""
    mine = Mark.new(folder)
    return await _end(
        lambda: _families(
            lambda mark: (mark.folder, mark.runner, mark.started) == (mine.folder, mine.runner, mine.started)
        ),
        grace,
    )


async def _end(find: Callable[[], dict[int, str]], grace: float) -> int:
    family = await asyncio.to_thread(find)
    ended = len(family)
    if family:
        _signal_all(family, signal.SIGTERM)
        await _gone(family, grace)
    for _ in range(KILL_ROUNDS):  # one that is about to fork may escape a round
        family = await asyncio.to_thread(find)
        if not family:
            break
        _signal_all(family, signal.SIGKILL)
        await _gone(family, 1.0)
    return ended


def _families(wanted: Callable[[Mark], bool], root: tuple[int, str | None] | None = None) -> dict[int, str]:
    """Processes whose mark is wanted, `root` (by pid and start time), and all their descendants."""
    children: dict[int, list[int]] = {}
    found: list[int] = []
    for each, parent in _processes():
        children.setdefault(parent, []).append(each)
        # The number of a child that has ended may be anybody's by now.
        is_root = root is not None and each == root[0] and start_time(each) == root[1]
        if is_root or ((mark := _mark_of(each)) and wanted(mark)):
            found.append(each)
    family: dict[int, str] = {}
    while found:
        each = found.pop()
        if each not in family and (started := start_time(each)) is not None:
            family[each] = started
        found += children.pop(each, ())
    return family


def start_time(pid: int) -> str | None:
    """Start time of a process in clock ticks, None when it is gone or a zombie. With the pid it is unique."""
    fields = _stat(pid)
    return None if fields is None or fields[0] in {b"Z", b"X"} else fields[19].decode()


def _processes() -> Iterator[tuple[int, int]]:
    """Pid and parent of every process but the kernel's own."""
    with contextlib.suppress(OSError):
        for name in os.listdir("/proc"):  # noqa: PTH208 - names only, pathlib would build thousands of objects
            if name.isdigit() and (fields := _stat(int(name))) is not None:
                pid, parent = int(name), int(fields[1])
                if KERNEL not in (pid, parent):
                    yield pid, parent


def _stat(pid: int) -> list[bytes] | None:
    """The fields of a process's stat behind its name."""
    content = _read(f"/proc/{pid}/stat")
    return content.rpartition(b")")[2].split() if content else None


def _mark_of(pid: int) -> Mark | None:
    environ = _read(f"/proc/{pid}/environ")
    before, _, entry = environ.partition(_MARK_KEY)
    if not entry or (before and not before.endswith(b"\0")):
        return None
    return Mark.parse(entry.partition(b"\0")[0].decode(errors="replace"))


def _read(path: str) -> bytes:
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - hundreds of times in a row
            return file.read()
    except OSError:
        return b""


def _signal_all(family: Mapping[int, str], sign: signal.Signals) -> None:
    for pid, started in family.items():
        if start_time(pid) == started:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, sign)


async def _gone(family: Mapping[int, str], limit: float) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + limit
    # Nothing announces the end of a process that is not our child.
    while loop.time() < deadline and any(start_time(pid) == at for pid, at in family.items()):  # noqa: ASYNC110
        await asyncio.sleep(POLL)


def _die_with_parent() -> Callable[[], object] | None:
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl  # loaded before the fork: nothing is imported in the child
    return lambda: prctl(PR_SET_PDEATHSIG, signal.SIGTERM)

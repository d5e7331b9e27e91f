"""How much of the disk sandboxes take: what lies in the folders that they write to.

Whatever runs there puts in what it likes. So a look follows no link, is bounded in entries, depth and time, and says
at least how much there is; all looks of one process together cost at most a twentieth of a core.
"""

import asyncio
import os
import stat
import time
from collections.abc import Awaitable, Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog

from runyard_events.tasks import end_tasks
from runyard_sandbox.provisioner import SandboxFault

Look = Callable[[], Awaitable[int | None]]

_EVERY_SECONDS = 60.0
_FIRST_SECONDS = 1.0
"""How long the first measures of a sandbox wait for the first look."""
_RESTS = 19
"""Times as long as a look took the next one waits."""
_BLOCK = 512
_REMEMBERED = 2048
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Bounds:
    """Where a look ends."""

    entries: int = 500_000
    depth: int = 64
    seconds: float = 3.0


def disk_use(folders: Iterable[Path], bounds: Bounds | None = None) -> int | None:
    """Bytes on the disk of all that lies in these folders, each file once; None: one of them cannot be seen from here.

    What one may not read, and what vanishes meanwhile, counts as nothing.
    """
    walk = _Walk(bounds or Bounds())
    for folder in folders:
        try:
            with _opened(str(folder)) as top:
                walk.enter(top)
        except OSError:
            return None
    return walk.size


class DiskUse:
    """What each sandbox takes, looked at seldom and one after the other, in a thread."""

    def __init__(self, every_seconds: float = _EVERY_SECONDS) -> None:
        self._every = every_seconds
        self._known: dict[str, _Known] = {}
        self._one_at_a_time = asyncio.Lock()
        self._not_before = 0.0

    async def of(self, name: str, look: Look) -> int | None:
        """What it took when it was looked at last; None: not known yet, or not here."""
        known = self._known.get(name)
        if known is None:
            known = self._known[name] = _Known()
            while len(self._known) > _REMEMBERED:
                self._known.pop(next(iter(self._known))).end()
        if known.is_due(self._every):
            task = known.task = asyncio.create_task(self._refresh(known, look))
            if not known.at:
                await asyncio.wait({task}, timeout=_FIRST_SECONDS)
            known.at = time.monotonic()
        return known.size

    async def last(self, name: str, look: Look) -> int | None:
        """What it takes now that it has ended; it is not kept in mind any more."""
        if (known := self._known.pop(name, None)) is not None:
            known.end()
        return await _looked(look)

    async def close(self) -> None:
        """Looks at nothing any more."""
        await end_tasks(*(known.task for known in self._known.values() if known.task is not None))

    async def _refresh(self, known: "_Known", look: Look) -> None:
        async with self._one_at_a_time:
            await asyncio.sleep(self._not_before - time.monotonic())
            began = time.monotonic()
            known.size = await _looked(look)
            now = time.monotonic()
            self._not_before = now + _RESTS * (now - began)


@dataclass(slots=True)
class _Known:
    size: int | None = None
    at: float = 0.0
    task: asyncio.Task[None] | None = None

    def is_due(self, every: float) -> bool:
        return (self.task is None or self.task.done()) and (not self.at or time.monotonic() - self.at >= every)

    def end(self) -> None:
        if self.task is not None:
            self.task.cancel()


class _Walk:
    def __init__(self, bounds: Bounds) -> None:
        self.size = 0
        self._bounds = bounds
        self._left = bounds.entries
        self._until = time.monotonic() + bounds.seconds
        self._seen: set[tuple[int, int]] = set()

    def enter(self, top: int) -> None:
        if self._count(os.fstat(top)):
            self._through(top)

    def _through(self, folder: int, depth: int = 1) -> None:
        with os.scandir(folder) as found:
            for entry in found:
                self._left -= 1
                if self._left < 0 or time.monotonic() > self._until:
                    return
                try:
                    state = entry.stat(follow_symlinks=False)
                    if self._count(state) and stat.S_ISDIR(state.st_mode) and depth < self._bounds.depth:
                        with _opened(entry.name, folder) as inner:
                            self._through(inner, depth + 1)
                except OSError:
                    continue

    def _count(self, state: os.stat_result) -> bool:
        """Whether it is met for the first time: a file may have several names, a folder be within another one."""
        if state.st_nlink > 1 or stat.S_ISDIR(state.st_mode):
            itself = state.st_dev, state.st_ino
            if itself in self._seen:
                return False
            self._seen.add(itself)
        self.size += state.st_blocks * _BLOCK
        return True


@contextmanager
def _opened(name: str, within: int | None = None) -> Generator[int]:
    folder = os.open(name, _FOLDER, dir_fd=within)
    try:
        yield folder
    finally:
        os.close(folder)


async def _looked(look: Look) -> int | None:
    try:
        return await look()
    except (SandboxFault, OSError) as error:
        _log.info("disk.not_seen", error=str(error))
        return None

"""How much a repository may cost, looked at while it grows."""

import asyncio
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from runyard_workspace.adapters.git import kill_group
from runyard_workspace.adapters.sizes import folder_size
from runyard_workspace.domain.failures import Failure, failure


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a repository may cost."""

    seconds: float = 900.0
    size_bytes: int = 4 * 1024**3
    entries: int = 2_000_000
    spare_bytes: int = 256 * 1024**2
    watch_seconds: float = 0.5


@dataclass(frozen=True)
class Guard:
    """Measures a folder that a process fills."""

    limits: Limits

    async def watch(self, folder: Path, process: asyncio.subprocess.Process) -> Failure:
        """Kills the process when the folder grows past the limit; ends only then."""
        while True:
            started = time.monotonic()
            if too_much := await self.measure(folder):
                kill_group(process)
                return too_much
            # A large tree is looked at less often, so that watching stays a small part of the work.
            await asyncio.sleep(max(self.limits.watch_seconds, 5 * (time.monotonic() - started)))

    async def measure(self, folder: Path) -> Failure | None:
        """Why the folder has become too much; None while it has not."""
        size, entries = await asyncio.to_thread(folder_size, folder)
        if size > self.limits.size_bytes:
            return failure("too_large", f"more than {self.limits.size_bytes // 1024**2} MiB")
        if entries > self.limits.entries:
            return failure("too_large", f"more than {self.limits.entries} files")
        free = (await asyncio.to_thread(shutil.disk_usage, folder)).free
        return failure("disk_full") if free < self.limits.spare_bytes else None

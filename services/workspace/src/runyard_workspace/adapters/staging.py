"""Folders that live for one attempt: a clone before it is known to be good, an index for one diff.

An attempt owns a folder and a lock on it. The lock goes with the process: whatever lies there
without one was left behind by a service that was killed, and may be swept by any other.
"""

import asyncio
import contextlib
import fcntl
import os
import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from runyard_chassis.folders import remove_folder

LOCK = ".lock"


class Staging:
    """Staging folders below one parent, which must be on the same file system as the final place."""

    def __init__(self, parent: Path) -> None:
        self._parent = parent

    @asynccontextmanager
    async def folder(self, owner: str) -> AsyncGenerator[Path]:
        """An empty folder for one attempt; gone at the end, however the attempt ends."""
        path, lock = await asyncio.to_thread(self._make, owner)
        try:
            yield path
        finally:
            await asyncio.shield(asyncio.to_thread(self._drop, path, lock))

    async def sweep(self, owner: str | None = None) -> int:
        """Removes what dead attempts have left, of one owner or of all; returns how many there were."""
        return await asyncio.to_thread(self._sweep, owner)

    def _make(self, owner: str) -> tuple[Path, int]:
        self._parent.mkdir(parents=True, exist_ok=True)
        path = self._parent / f"{owner}.{uuid.uuid4().hex[:8]}"
        # The lock comes first: a sweep between the two lines finds nothing to take away.
        lock = os.open(f"{path}{LOCK}", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        path.mkdir()
        return path, lock

    def _drop(self, path: Path, lock: int) -> None:
        try:
            remove_folder(path)
            Path(f"{path}{LOCK}").unlink(missing_ok=True)
        finally:
            os.close(lock)

    def _sweep(self, owner: str | None) -> int:
        swept = 0
        with contextlib.suppress(FileNotFoundError):
            for lock_path in list(self._parent.glob(f"{owner or '*'}.*{LOCK}")):
                swept += self._sweep_one(lock_path)
        return swept

    def _sweep_one(self, lock_path: Path) -> int:
        try:
            lock = os.open(lock_path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return 0
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return 0
        self._drop(Path(str(lock_path).removesuffix(LOCK)), lock)
        return 1

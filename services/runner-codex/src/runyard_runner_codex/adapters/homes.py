"""Codex's homes. A new one is a copy of a home that Codex has set up once: setting up takes it 0.3 s each time."""

import asyncio
import contextlib
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

import structlog

logger = structlog.get_logger(__name__)

READY = ".ready"
NOT_COPIED = shutil.ignore_patterns(READY, "tmp", "sessions", "shell_snapshots", "thread-writer-locks", "run-token")


class Homes:
    """`set_up` starts Codex once in an empty home and ends it again."""

    def __init__(self, folder: Path, version: str, set_up: Callable[[Path], Awaitable[None]]) -> None:
        self._template = folder / f".template-{version}"
        self._set_up = set_up
        self._making = asyncio.Lock()

    async def prepare(self) -> None:
        """Makes the template; without one Codex sets each home up by itself."""
        async with self._making:
            if (self._template / READY).exists():
                return
            with contextlib.suppress(FileNotFoundError):
                await asyncio.to_thread(shutil.rmtree, self._template)
            (self._template / "tmp").mkdir(parents=True, mode=0o700)
            await self._set_up(self._template)
            (self._template / READY).touch()

    async def open(self, home: Path) -> None:
        """Gives a session's home what Codex needs, when it is new and there is a template."""
        await asyncio.to_thread(self._fill, home)

    def _fill(self, home: Path) -> None:
        if (self._template / READY).exists() and not any(home.glob("*.sqlite")):
            try:
                shutil.copytree(self._template, home, symlinks=True, ignore=NOT_COPIED, dirs_exist_ok=True)
            except OSError as error:
                logger.warning("codex.home_not_copied", error=str(error))
        (home / "tmp").mkdir(parents=True, exist_ok=True)

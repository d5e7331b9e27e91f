"""What NATS and PostgreSQL have in common: prepare, spawn, wait until ready, stop."""

import asyncio
import time
from abc import ABC, abstractmethod
from pathlib import Path

from runyard_stack.embedded.child import Child, tail
from runyard_stack.embedded.errors import EmbeddedError

POLL_SECONDS = 0.02
ORPHAN_GRACE_SECONDS = 10


class EmbeddedServer(ABC):
    """A real server as a child process of this one."""

    name: str
    child: Child
    log: Path

    @abstractmethod
    def prepare(self) -> None:
        """Blocking work before the start: folders, configuration, the first initialisation."""

    @abstractmethod
    def ready(self) -> bool:
        """Whether it takes connections now; cheap enough to be asked fifty times a second."""

    @abstractmethod
    def explain(self, log_tail: str) -> EmbeddedError:
        """The error for a server that ended before it was ready."""

    def spawn(self) -> None:
        """Start the process; call it from a thread that lives as long as the parent."""
        self.child.spawn()

    def start(self, timeout: float = 30) -> None:
        """Prepare, spawn and block until ready."""
        self.prepare()
        self.spawn()
        deadline = time.monotonic() + timeout
        while not self._is_up(deadline):
            time.sleep(POLL_SECONDS)

    async def start_async(self, timeout: float = 30) -> None:  # noqa: ASYNC109 - one deadline for all steps
        """`start` without blocking the event loop; when cancelled it ends once nothing of it goes on."""
        preparing = asyncio.create_task(asyncio.to_thread(self.prepare))
        try:
            await asyncio.shield(preparing)
        except asyncio.CancelledError:
            await asyncio.gather(preparing, return_exceptions=True)  # a thread cannot be cancelled
            raise
        self.spawn()
        await self.wait_ready(timeout)

    async def wait_ready(self, timeout: float = 30) -> None:  # noqa: ASYNC109 - one deadline for all steps
        """Wait for a spawned server."""
        deadline = time.monotonic() + timeout
        while not self._is_up(deadline):  # noqa: ASYNC110 - another process, no event to wait for
            await asyncio.sleep(POLL_SECONDS)

    def _is_up(self, deadline: float) -> bool:
        if self.child.exit_code is not None:
            raise self.explain(tail(self.log))
        if self.ready():
            return True
        if time.monotonic() > deadline:
            self.stop(timeout=2)
            raise EmbeddedError(
                f"{self.name} did not become ready in time.\n{tail(self.log)}",
                f"Look at {self.log} and start again.",
            )
        return False

    @property
    def running(self) -> bool:
        """Whether the process is alive."""
        return self.child.pid is not None

    def stop(self, timeout: float = 8) -> None:
        """Stop cleanly; kill after `timeout` seconds."""
        self.child.stop(timeout)

"""Tells when processes end, whoever started them."""

import asyncio
import os
from collections.abc import AsyncIterator

from runyard_sandbox.process.identity import Identity
from runyard_sandbox.provisioner import Change


class Watching:
    """The kernel says it by a descriptor for each process; nothing is polled."""

    def __init__(self) -> None:
        self._watched: dict[Identity, tuple[str, int]] = {}
        self._listeners: set[asyncio.Queue[Change | None]] = set()
        self._children: set[asyncio.Task[int]] = set()

    def own(self, process: asyncio.subprocess.Process) -> None:
        """A child of this process, which has to be reaped."""
        task = asyncio.ensure_future(process.wait())
        self._children.add(task)
        task.add_done_callback(self._children.discard)

    def watch(self, name: str, identity: Identity) -> None:
        """Tells of its end; once for each process."""
        if identity in self._watched:
            return
        try:
            descriptor = os.pidfd_open(identity.pid)
        except OSError:
            return  # it is gone already
        self._watched[identity] = name, descriptor
        asyncio.get_running_loop().add_reader(descriptor, self._ended, identity)

    def tell(self, name: str, what: str) -> None:
        """Tells everybody who listens."""
        for listener in self._listeners:
            listener.put_nowait(Change(name, what))

    async def ended(self, identity: Identity, seconds: float) -> bool:
        """Waits for its end; whether it came within this time."""
        try:
            descriptor = os.pidfd_open(identity.pid)
        except OSError:
            return True
        loop = asyncio.get_running_loop()
        over: asyncio.Future[None] = loop.create_future()
        loop.add_reader(descriptor, lambda: over.done() or over.set_result(None))
        try:
            if not identity.lives():
                return True
            await asyncio.wait([over], timeout=seconds)
            return over.done()
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)

    async def changes(self) -> AsyncIterator[Change]:
        """What happens from now on."""
        listener: asyncio.Queue[Change | None] = asyncio.Queue()
        self._listeners.add(listener)
        try:
            while (change := await listener.get()) is not None:
                yield change
        finally:
            self._listeners.discard(listener)

    def close(self) -> None:
        """Watches nothing any more."""
        loop = asyncio.get_running_loop()
        for _, descriptor in self._watched.values():
            loop.remove_reader(descriptor)
            os.close(descriptor)
        self._watched.clear()
        for listener in self._listeners:
            listener.put_nowait(None)

    def _ended(self, identity: Identity) -> None:
        name, descriptor = self._watched.pop(identity)
        asyncio.get_running_loop().remove_reader(descriptor)
        os.close(descriptor)
        self.tell(name, "die")

"""This host's services as Unix sockets in a folder, and ports of sandboxes the other way round.

A sandbox's network has no address of the host, and a service on loopback is not on any of the engine's networks:
files are the only thing that this process and the proxy's container share.
"""

import asyncio
import contextlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from runyard_sandbox.proxy.config import Target
from runyard_sandbox.proxy.opening import TooLong, first_bytes
from runyard_sandbox.proxy.piping import End, connect
from runyard_sandbox.proxy.server import CONNECTED

PAGES = "pages.sock"
_IDLE_SECONDS = 3600.0
_ANSWER_SECONDS = 15.0


class Relay:
    """Serves `<folder>/in/<name>.sock` for each service; the proxy serves `<folder>/out/pages.sock`."""

    def __init__(self, folder: Path, services: Mapping[str, Target], *, private: bool = True) -> None:
        self._folder = folder.absolute()
        self._services = services
        self._private = private
        self._servers: list[asyncio.Server] = []
        self._descriptors: list[int] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._out = ""
        self._started = False

    @property
    def inward(self) -> Path:
        """Where our sockets are."""
        return self._folder / "in"

    @property
    def outward(self) -> Path:
        """Where the proxy's are."""
        return self._folder / "out"

    async def start(self, proxy_user: str) -> None:
        """Opens all sockets; those of a former process are replaced."""
        if self._started:
            return
        await asyncio.to_thread(self._make_folders, proxy_user)
        inward, self._out = self._opened(self.inward), self._opened(self.outward)
        try:
            for name, target in self._services.items():
                path = Path(inward) / f"{name}.sock"
                server = await asyncio.get_running_loop().create_unix_server(self._listener(target), path)
                self._servers.append(server)
                await asyncio.to_thread(path.chmod, 0o666)
        except BaseException:
            await self.close()
            raise
        self._started = True

    async def close(self) -> None:
        """Closes all sockets and the connections through them."""
        for server in self._servers:
            server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._servers, self._descriptors, self._started = [], [], False

    async def reach(self, end: End, address: str, port: int) -> None:
        """Leads a connection of ours to a port of a sandbox."""
        try:
            other = await connect(Target(path=f"{self._out}/{PAGES}"))
        except OSError:
            end.transport.abort()
            return
        other.transport.write(f"{address} {port}\n".encode())
        try:
            answer, rest = await first_bytes(other, b"\n", longest=len(CONNECTED), seconds=_ANSWER_SECONDS)
        except (OSError, TooLong):
            answer, rest = b"", b""
        if answer != CONNECTED:
            other.transport.abort()
            end.transport.abort()
            return
        end.transport.write(rest)
        end.join(other, _IDLE_SECONDS)

    async def proxy_listens(self) -> bool:
        """Whether the proxy has opened its doors."""
        with contextlib.suppress(OSError):
            (await connect(Target(path=f"{self._out}/{PAGES}"))).transport.abort()
            return True
        return False

    async def listen(self, host: str, port: int, address: str, inside: int) -> asyncio.Server:
        """Opens a port of this host that leads to one of a sandbox. Raises OSError when it is taken."""

        def made(end: End) -> None:
            self._keep(asyncio.ensure_future(self.reach(end, address, inside)))

        return await asyncio.get_running_loop().create_server(lambda: End(made), host, port)

    def _listener(self, target: Target) -> Callable[[], End]:
        def made(end: End) -> None:
            self._keep(asyncio.ensure_future(_lead(end, target)))

        return lambda: End(made)

    def _keep(self, task: "asyncio.Task[None]") -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _opened(self, folder: Path) -> str:
        """A short name for a folder: a socket's path has at most 107 bytes, a data folder's may be longer."""
        descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY)
        self._descriptors.append(descriptor)
        return f"/proc/self/fd/{descriptor}"

    def _make_folders(self, proxy_user: str) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._folder.chmod(0o700 if self._private else 0o711)
        for folder in (self.inward, self.outward):
            folder.mkdir(exist_ok=True)
            folder.chmod(0o755)
        if os.geteuid() == 0:
            uid, gid = (int(each) for each in proxy_user.split(":"))
            os.chown(self.outward, uid, gid)


async def _lead(end: End, target: Target) -> None:
    try:
        other = await connect(target)
    except OSError:
        end.transport.abort()
    else:
        end.join(other, _IDLE_SECONDS)

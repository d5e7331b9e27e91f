"""All doors of the proxy: services inwards, the outside, and pages of sandboxes for the platform."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from ipaddress import ip_address, ip_network
from pathlib import Path

from runyard_sandbox.pace import Paces, Rate
from runyard_sandbox.proxy.bounds import Bounds
from runyard_sandbox.proxy.config import ProxyConfig, Target
from runyard_sandbox.proxy.decisions import Decisions
from runyard_sandbox.proxy.egress import Egress
from runyard_sandbox.proxy.names import NoNames
from runyard_sandbox.proxy.opening import TooLong, first_bytes
from runyard_sandbox.proxy.piping import End, connect

_LINE_SECONDS = 5.0
_LONGEST_LINE = 128
CONNECTED = b"connected\n"
_log = logging.getLogger("runyard.proxy")

Serve = Callable[[End], Awaitable[None]]


class ProxyServer:
    """Listens until it is closed."""

    def __init__(self, config: ProxyConfig) -> None:
        self._config = config
        self._bounds = Bounds(config.most_connections, config.most_connections_each)
        self._paces = Paces(Rate(config.forward_rate, config.forward_burst))
        self._subnets = None if config.subnets is None else ip_network(config.subnets)
        self._egress = Egress(
            Decisions(config.decisions, config.token),
            by_pass=self._subnets is None,
            private=config.private,
            never=() if self._subnets is None else (self._subnets,),
            idle_seconds=config.idle_seconds,
        )
        self._servers: list[asyncio.Server] = []
        self._names: asyncio.DatagramTransport | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, host: str = "0.0.0.0") -> None:  # noqa: S104 (its networks hold sandboxes and services only)
        """Opens all doors; the one for pages last: who finds it open finds all open."""
        for port, target in self._config.forwards.items():
            await self._listen(host, port, self._forward(target))
        await self._listen(host, self._config.egress_port, self._egress.serve)
        if self._config.names_port is not None:
            where = (host, self._config.names_port)
            self._names, _ = await asyncio.get_running_loop().create_datagram_endpoint(NoNames, where)
        if self._config.pages is not None:
            self._servers.append(await self._listen_unix(Path(self._config.pages), self._page))

    @property
    def ports(self) -> list[int]:
        """Where it listens, in the order of the forwards, then egress."""
        return [server.sockets[0].getsockname()[1] for server in self._servers[: len(self._config.forwards) + 1]]

    async def close(self) -> None:
        """Closes all doors and what came through them."""
        for server in self._servers:
            server.close()
        if self._names is not None:
            self._names.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _listen(self, host: str, port: int, serve: Serve) -> None:
        loop = asyncio.get_running_loop()
        self._servers.append(await loop.create_server(lambda: End(lambda end: self._enter(end, serve)), host, port))

    async def _listen_unix(self, path: Path, serve: Serve) -> asyncio.Server:
        """The folder is private to the platform; within it everybody may connect."""
        loop = asyncio.get_running_loop()
        await asyncio.to_thread(path.unlink, missing_ok=True)
        server = await loop.create_unix_server(lambda: End(lambda end: self._enter(end, serve)), path)
        await asyncio.to_thread(path.chmod, 0o666)
        return server

    def _enter(self, end: End, serve: Serve) -> None:
        if end.peer and self._config.only_subnets and self._is_stranger(end.peer):
            _log.warning("not a sandbox: %s", end.peer)
            end.transport.abort()
            return
        leave = self._bounds.enter(end.peer) if end.peer else _nothing
        if leave is None:
            _log.warning("too many connections: %s", end.peer)
            end.transport.abort()
            return
        end.when_lost(leave)
        task = asyncio.ensure_future(serve(end))
        self._tasks.add(task)
        task.add_done_callback(lambda task: self._served(task, end))

    def _served(self, task: "asyncio.Task[None]", end: End) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("a connection failed", exc_info=error)
            end.transport.abort()

    def _forward(self, target: Target) -> Serve:
        async def serve(end: End) -> None:
            try:
                other = await connect(target)
            except OSError as error:
                _log.warning("%s does not answer: %s", target, type(error).__name__)
                end.transport.abort()
            else:
                # Where an address may be a node's, many sandboxes would share what is one's.
                pace = None if self._subnets is None else self._paces.of(end.peer)
                end.join(other, self._config.forward_idle_seconds, pace)

        return serve

    def _is_stranger(self, address: str) -> bool:
        return self._subnets is not None and ip_address(address) not in self._subnets

    def _inside(self, address: str, port: int) -> Target:
        if self._subnets is None or self._is_stranger(address):
            raise ValueError(f"{address} is not that of a sandbox")
        return Target(host=address, port=port)

    async def _page(self, end: End) -> None:
        """`<address> <port>` on a line, answered by a line when connected; then the bytes of that connection."""
        try:
            line, rest = await first_bytes(end, b"\n", longest=_LONGEST_LINE, seconds=_LINE_SECONDS)
            address, port = line.decode("ascii").split()
            other = await connect(self._inside(address, int(port)))
        except (OSError, ValueError, TooLong):
            end.transport.abort()
        else:
            end.transport.write(CONNECTED)
            other.transport.write(rest)
            end.join(other, self._config.forward_idle_seconds)


def _nothing() -> None:
    """The platform's own connections are not counted."""

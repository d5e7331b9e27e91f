"""Two connections that are one: what comes out of either goes into the other, no faster than it is taken."""

import asyncio
import socket
from collections.abc import Callable
from typing import Any, cast

from runyard_sandbox.pace import Pace
from runyard_sandbox.proxy.config import Target

CONNECT_SECONDS = 10.0
_FLUSH_SECONDS = 30.0
_OPTIONS = ((socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1), (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1))


class End(asyncio.Protocol):
    """One of the two ends. Until `join` it takes nothing from its connection."""

    def __init__(self, on_made: Callable[["End"], None] | None = None) -> None:
        self._on_made = on_made
        self._other: End | None = None
        self._idle: _Idle | None = None
        self._on_lost: list[Callable[[], None]] = []
        self._early = b""
        self._pace: Pace | None = None
        self._held: set[str] = set()
        self._ended = False
        self._lost = False
        self.transport = cast("asyncio.Transport", None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        # A transport that was just made starts to read only after this call, so pausing it here would do nothing.
        asyncio.get_running_loop().call_soon(self._pause)
        _tune(self.transport)
        if self._on_made is not None:
            self._on_made(self)

    def data_received(self, data: bytes) -> None:
        if self._other is None or self._idle is None:
            self._early += data
            return
        self._idle.moved()
        self._pass_on(data, self._other)

    def eof_received(self) -> bool:
        self._ended = True
        if self._other is None:
            return True
        if self._other.is_lost:
            return False
        if self._other.has_ended or not self._other.transport.can_write_eof():
            return False
        self._other.transport.write_eof()
        return True

    def pause_writing(self) -> None:
        if self._other is not None:
            self._other.hold("full")

    def resume_writing(self) -> None:
        if self._other is not None:
            self._other.let_go("full")

    def connection_lost(self, exc: Exception | None) -> None:
        _ = exc
        self._lost = True
        if self._idle is not None:
            self._idle.cancel()
        if self._other is not None:
            _close(self._other.transport)
        for call in self._on_lost:
            call()
        self._on_lost.clear()

    @property
    def is_lost(self) -> bool:
        """Whether its connection is closed."""
        return self._lost

    @property
    def has_ended(self) -> bool:
        """Whether nothing comes from it any more; it may still be written to."""
        return self._ended

    @property
    def peer(self) -> str:
        """The address at the other side; empty for a Unix socket."""
        name: Any = self.transport.get_extra_info("peername")
        return str(name[0]) if name and not isinstance(name, str | bytes) else ""

    def when_lost(self, call: Callable[[], None]) -> None:
        """Calls it once, when the connection is closed (at once when it is)."""
        if self._lost:
            call()
        else:
            self._on_lost.append(call)

    def hold(self, why: str) -> None:
        """Takes nothing more from its connection, until it is let go for the same reason."""
        self._held.add(why)
        if not self._lost:
            self.transport.pause_reading()

    def let_go(self, why: str) -> None:
        """Takes what comes again, unless there is another reason not to."""
        self._held.discard(why)
        if not self._held and not self._lost:
            self.transport.resume_reading()

    def join(self, other: "End", idle_seconds: float, pace: Pace | None = None) -> None:
        """From now on both are one connection, until either ends or nothing has moved for `idle_seconds`.

        What comes from this end is taken no faster than `pace` allows.
        """
        self._pace = pace
        if self._lost or other.is_lost:
            self.transport.close()
            other.transport.close()
            return
        idle = _Idle(idle_seconds, (self, other))
        self.bind(other, idle)
        other.bind(self, idle)
        for end in (self, other):
            end.go_on()

    def take_early(self) -> bytes:
        """What came before anybody wanted it."""
        early, self._early = self._early, b""
        return early

    def bind(self, other: "End", idle: "_Idle") -> None:
        """One half of `join`."""
        self._other, self._idle = other, idle

    def go_on(self) -> None:
        """The other half: what had come already goes first."""
        if (early := self.take_early()) and self._other is not None:
            self._pass_on(early, self._other)
        if not self._held:  # writing that has filled the other end
            self.transport.resume_reading()
        if self._ended and not self.eof_received():
            self.transport.close()

    def _pass_on(self, data: bytes, other: "End") -> None:
        other.transport.write(data)
        if self._pace is not None and (seconds := self._pace.take(len(data))):
            self.hold("pace")
            asyncio.get_running_loop().call_later(seconds, self.let_go, "pace")

    def _pause(self) -> None:
        if self._other is None and not self.transport.is_closing():
            self.transport.pause_reading()


class _Idle:
    """Closes two ends when nothing has moved between them for a while; looks a few times in that while."""

    def __init__(self, seconds: float, ends: tuple[End, End]) -> None:
        self._loop = asyncio.get_running_loop()
        self._seconds = seconds
        self._ends = ends
        self._last = self._loop.time()
        self._timer = self._loop.call_later(seconds, self._look)

    def moved(self) -> None:
        self._last = self._loop.time()

    def cancel(self) -> None:
        self._timer.cancel()

    def _look(self) -> None:
        left = self._last + self._seconds - self._loop.time()
        if left > 0:
            self._timer = self._loop.call_later(left, self._look)
            return
        for end in self._ends:
            end.transport.abort()


async def connect(target: Target) -> End:
    """A connection to it. Raises OSError; TimeoutError is one."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(CONNECT_SECONDS):
        if target.path is not None:
            _, end = await loop.create_unix_connection(End, target.path)
        else:
            _, end = await loop.create_connection(End, target.host, target.port)
    return end


def _close(transport: asyncio.Transport) -> None:
    """What was written still goes out, unless it is not taken."""
    transport.close()
    asyncio.get_running_loop().call_later(_FLUSH_SECONDS, transport.abort)


def _tune(transport: asyncio.Transport) -> None:
    found = transport.get_extra_info("socket")
    if found is not None and found.family in {socket.AF_INET, socket.AF_INET6}:
        for level, option, value in _OPTIONS:
            found.setsockopt(level, option, value)

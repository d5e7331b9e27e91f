"""The first bytes of a connection, up to a mark, before it is known where it goes on."""

import asyncio

from runyard_sandbox.proxy.piping import End


class TooLong(Exception):
    """The mark does not come."""


class _Gathering(asyncio.Protocol):
    """Stands in for an end until the mark is there, then stops reading. What happens to the end it is told."""

    def __init__(self, end: End, mark: bytes, longest: int) -> None:
        self.found: asyncio.Future[tuple[bytes, bytes]] = asyncio.get_running_loop().create_future()
        self._end = end
        self._mark = mark
        self._longest = longest
        self._gathered = bytearray()

    def data_received(self, data: bytes) -> None:
        self._gathered += data
        at = self._gathered.find(self._mark)
        if at < 0 and len(self._gathered) <= self._longest:
            return
        self._end.transport.pause_reading()
        if self.found.done():
            return
        if at < 0 or at > self._longest:
            self.found.set_exception(TooLong())
        else:
            at += len(self._mark)
            self.found.set_result((bytes(self._gathered[:at]), bytes(self._gathered[at:])))

    def eof_received(self) -> bool:
        """A program may send all it has to say and end before it is answered; the mark has to be in it."""
        return self.found.done() and self._end.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.found.done():
            self.found.set_exception(ConnectionResetError())
        self._end.connection_lost(exc)


async def first_bytes(end: End, mark: bytes, *, longest: int, seconds: float) -> tuple[bytes, bytes]:
    """What comes up to the mark and with it, and what came behind it. The end reads no further until it is joined.

    Raises:
        TooLong; OSError when the connection ends before; TimeoutError, which is one.
    """
    gathering = _Gathering(end, mark, longest)
    end.transport.set_protocol(gathering)
    if end.is_lost:
        raise ConnectionResetError
    if early := end.take_early():
        gathering.data_received(early)
    if not gathering.found.done():
        end.transport.resume_reading()
    async with asyncio.timeout(seconds):
        found = await gathering.found
    end.transport.set_protocol(end)
    return found

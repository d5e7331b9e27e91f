"""Answers every question about a name with "no such name", at once.

Sandboxes resolve no names: the proxy does it for the hosts that are allowed. Without an answer each attempt of a
program that does not know of the proxy would wait for many seconds.
"""

import asyncio
from typing import cast

PORT = 53
_HEADER_BYTES = 12
_LONGEST_NAME = 255
_KIND_AND_CLASS_BYTES = 4
_OPCODE_AND_RD = 0x79
_NO_SUCH_NAME = 0x83
"""With the sign that names could be looked up for others here."""
_RESPONSE = 0x80


def answer(query: bytes) -> bytes | None:
    """The response to a query; None for what is none."""
    if len(query) < _HEADER_BYTES or query[2] & _RESPONSE or query[4:6] != b"\x00\x01":
        return None
    at = _HEADER_BYTES
    while at < len(query) and query[at]:
        at += query[at] + 1
    end = at + 1 + _KIND_AND_CLASS_BYTES
    if end > len(query) or at - _HEADER_BYTES > _LONGEST_NAME:
        return None
    flags = bytes([_RESPONSE | query[2] & _OPCODE_AND_RD, _NO_SUCH_NAME])
    return query[:2] + flags + b"\x00\x01" + b"\x00" * 6 + query[_HEADER_BYTES:end]


class NoNames(asyncio.DatagramProtocol):
    """Listens for queries."""

    def __init__(self) -> None:
        self._transport = cast("asyncio.DatagramTransport", None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if (response := answer(data)) is not None:
            self._transport.sendto(response, addr)

"""The receiving side of the streaming benchmark, a process of its own: raw sockets, the same code for both sides.

Reads one JSON line `{"kind": "nats"|"sse", ...}` from stdin, opens the connections, prints `ready`, and when every
event has come one JSON line of latencies in seconds. What is in a frame is found by one search for the time that the
publisher wrote into it; nothing is parsed.
"""

import asyncio
import json
import re
import sys
import time
from dataclasses import dataclass, field
from typing import Any, cast

import uvloop

STAMP = re.compile(rb'"textDelta":"@(\d+)"')
LONGEST_STAMP = 64


@dataclass
class Tally:
    """What all connections together have seen."""

    expected: int
    latencies: list[float] = field(default_factory=list[float])
    done: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, sent: int, now: int) -> None:
        """One event at one client."""
        self.latencies.append((now - sent) / 1e9)
        if len(self.latencies) >= self.expected:
            self.done.set()


class Receiver(asyncio.Protocol):
    """One connection: says `greeting`, is ready at `ready_at`, then notes when each stamp comes."""

    def __init__(self, tally: Tally, greeting: bytes, ready_at: bytes) -> None:
        self._tally, self._greeting, self._ready_at = tally, greeting, ready_at
        self._tail = b""
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Asks at once."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._greeting)

    def data_received(self, data: bytes) -> None:
        """Finds stamps, also those cut in two by a packet."""
        now = time.monotonic_ns()
        buffer = self._tail + data
        end = 0
        for match in STAMP.finditer(buffer):
            self._tally.add(int(match[1]), now)
            end = match.end()
        self._tail = buffer[max(end, len(buffer) - LONGEST_STAMP) :]
        if not self.ready.done() and self._ready_at in buffer:
            self.ready.set_result(None)
        if data.endswith(b"PING\r\n"):
            self._transport.write(b"PONG\r\n")


def greeting(order: dict[str, Any], topic: str) -> tuple[bytes, bytes]:
    """What a client of this kind says first, and what tells that it is being served."""
    if order["kind"] == "nats":
        return f'CONNECT {{"verbose":false}}\r\nSUB {topic} 1\r\nPING\r\n'.encode(), b"PONG"
    head = f"GET {topic} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {order['token']}\r\n\r\n"
    return head.encode(), b"run.requested"


async def receive(order: dict[str, Any]) -> None:
    """Connects one client per topic and waits for `expected` events in all."""
    loop = asyncio.get_running_loop()
    tally = Tally(order["expected"])
    receivers: list[Receiver] = []
    for topic in order["topics"]:
        first, ready_at = greeting(order, topic)
        _, receiver = await loop.create_connection(
            lambda first=first, ready_at=ready_at: Receiver(tally, first, ready_at), "127.0.0.1", order["port"]
        )
        receivers.append(receiver)
    await asyncio.gather(*(receiver.ready for receiver in receivers))
    print("ready", flush=True)
    async with asyncio.timeout(order["seconds"]):
        await tally.done.wait()
    print(json.dumps(tally.latencies), flush=True)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(receive(json.loads(sys.stdin.readline())))

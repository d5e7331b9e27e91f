"""(e2) llm-gateway with authorisation and ledger on, on one core, against the bare aiohttp pass-through.

Goals: 2,000 requests/s at 16 connections; the first token of a stream added to as little as possible. The gateway
(or the floor) has core 0 to itself; the provider, the callers, NATS (synced writes) and PostgreSQL share the others.
"""

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import psutil
import uvloop

from runyard_chassis import LLM_AUDIENCE, Tokens
from runyard_events import EventLog, connect, ensure_topology
from runyard_stack.embedded.databases import ensure_database
from runyard_stack.embedded.nats import NatsServer
from runyard_stack.embedded.ports import free_port
from runyard_stack.embedded.postgres import PostgresServer

KEY = "benchmark-key-0123456789abcdef0123456789"
TENANT = str(uuid.uuid4())
CONNECTIONS = (1, 16, 64)
PATH = "/v1/responses"
PEERS = Path(__file__).with_name("llm_gateway_peers.py")


class Caller(asyncio.Protocol):
    """One connection that asks again and again."""

    def __init__(self, request: bytes, *, first: bytes, end: bytes) -> None:
        self._request, self._first, self._end = request, first, end
        self._answer = b""
        self._began = 0.0
        self._seen_first = False
        self.done: asyncio.Future[None] | None = None
        self.first_token: list[float] = []
        self.whole: list[float] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps the transport."""
        self.transport = cast("asyncio.Transport", transport)

    async def ask(self) -> None:
        """One request and its whole answer."""
        self.done = asyncio.get_running_loop().create_future()
        self._answer, self._seen_first = b"", False
        self._began = time.perf_counter()
        self.transport.write(self._request)
        await self.done

    def data_received(self, data: bytes) -> None:
        """Looks for the first token and for the end."""
        self._answer += data
        if not self._seen_first and self._first in self._answer:
            self._seen_first = True
            self.first_token.append(time.perf_counter() - self._began)
        if self._end in self._answer and self.done is not None and not self.done.done():
            self.whole.append(time.perf_counter() - self._began)
            assert b" 200 " in self._answer[:20], self._answer[:400]
            self.done.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing may end a connection in the middle."""
        if self.done is not None and not self.done.done():
            self.done.set_exception(exc or ConnectionResetError())


@dataclass(frozen=True)
class Server:
    """A server under load."""

    port: int
    process: psutil.Process


@dataclass(frozen=True)
class Figures:
    """One measurement."""

    per_second: float
    p50_ms: float
    p99_ms: float
    first_ms: float
    cpu_ms: float = 0
    """Processor time of the server per request: what counts when others use the machine too."""


def cpu_seconds(process: psutil.Process) -> float:
    """Processor time that a process has used so far."""
    times = process.cpu_times()
    return times.user + times.system


def request(port: int, token: str, *, stream: bool, model: str) -> bytes:
    """A request as it goes over the wire."""
    fields: dict[str, object] = {"model": model, "input": "x" * 400, "stream": stream}
    body = json.dumps(fields).encode()
    head = (
        f"POST {PATH} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: application/json\r\n"
        f"authorization: Bearer {token}\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def load(
    server: Server, connections: int, seconds: float, *, stream: bool = False, model: str = "gpt-5"
) -> Figures:
    """That many connections, each a run of its own, asking for that long."""
    port = server.port
    tokens = Tokens(KEY, LLM_AUDIENCE)
    callers: list[Caller] = []
    loop = asyncio.get_running_loop()
    end = b"0\r\n\r\n" if stream else b'"total_tokens": 1250'
    for number in range(connections):
        token = tokens.mint(tenant=TENANT, session=f"session-{number}", run=f"run-{number}")
        sent = request(port, token, stream=stream, model=model)
        _, caller = await loop.create_connection(
            lambda sent=sent: Caller(sent, first=b"output_text.delta", end=end), "127.0.0.1", port
        )
        callers.append(caller)
    until = time.perf_counter() + seconds

    async def work(caller: Caller) -> None:
        while time.perf_counter() < until:
            await caller.ask()

    began, used = time.perf_counter(), cpu_seconds(server.process)
    await asyncio.gather(*map(work, callers))
    elapsed, used = time.perf_counter() - began, cpu_seconds(server.process) - used
    for caller in callers:
        caller.transport.close()
    whole = sorted(duration * 1000 for caller in callers for duration in caller.whole)
    first = [duration * 1000 for caller in callers for duration in caller.first_token]
    return Figures(
        per_second=len(whole) / elapsed,
        p50_ms=statistics.median(whole),
        p99_ms=whole[int(len(whole) * 0.99)],
        first_ms=statistics.median(first) if first else 0,
        cpu_ms=used / len(whole) * 1000,
    )


@contextlib.contextmanager
def process(argv: list[str], cores: set[int], port: int, **environment: str) -> Generator[Server]:
    """A server process on its own cores, once it listens."""
    with subprocess.Popen([sys.executable, *argv], env={"PATH": os.environ["PATH"], **environment}) as child:
        running = psutil.Process(child.pid)
        running.cpu_affinity(sorted(cores))
        try:
            while not any(c.laddr.port == port and c.status == "LISTEN" for c in running.net_connections()):
                if child.poll() is not None:
                    raise RuntimeError(f"{argv} ended with {child.returncode}")
                time.sleep(0.02)
            yield Server(port, running)
        finally:
            child.terminate()


@contextlib.contextmanager
def servers(cores: set[int]) -> Generator[tuple[str, str]]:
    """NATS as `runyard up` runs it, and PostgreSQL; their addresses."""
    with tempfile.TemporaryDirectory(prefix="runyard-bench-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        nats = NatsServer(Path(folder) / "nats", free_port())
        postgres = PostgresServer(Path(folder) / "postgres", free_port())
        everybody = os.sched_getaffinity(0)
        os.sched_setaffinity(0, cores)
        nats.start()
        postgres.start()
        os.sched_setaffinity(0, everybody)
        try:
            asyncio.run(_declare(nats, postgres))
            yield nats.url, postgres.url("runyard", "runyard", "runyard")
        finally:
            nats.stop()
            postgres.stop()


async def _declare(nats: NatsServer, postgres: PostgresServer) -> None:
    await ensure_database(postgres, "runyard", "runyard", "runyard")
    client = await connect(nats.url, service="bench")
    await ensure_topology(client)
    await client.close()


async def recorded(nats_url: str, expected: int) -> int:
    """How many calls stand in the log, once all do."""
    client = await connect(nats_url, service="bench")
    log = EventLog(client)
    count = 0
    deadline = time.monotonic() + 30
    while count < expected and time.monotonic() < deadline:
        count = sum([1 async for _ in log.replay("ev.*.session.*.run.*.llm")])
    await client.close()
    return count


def measure(seconds: float) -> None:
    """Floor and gateway in turns, then what was recorded."""
    mine, others = {0}, set(range(1, os.cpu_count() or 1)) or {0}
    ports = free_port(), free_port(), free_port()
    target = f"http://127.0.0.1:{ports[0]}"
    peer = str(PEERS)
    with contextlib.ExitStack() as stack:
        nats_url, database_url = stack.enter_context(servers(others))
        upstream = stack.enter_context(process([peer, "upstream", "--port", str(ports[0])], others, ports[0]))
        floor = stack.enter_context(
            process([peer, "floor", "--port", str(ports[1]), "--target", target], mine, ports[1])
        )
        gateway = stack.enter_context(
            process(
                ["-m", "runyard_llm_gateway"],
                mine,
                ports[2],
                PORT=str(ports[2]),
                NATS_URL=nats_url,
                DATABASE_URL=database_url,
                RUN_TOKEN_KEY=KEY,
                OPENAI_BASE_URL=f"{target}/v1",
                OPENAI_API_KEY="benchmark",
                LOG_LEVEL="WARNING",
            )
        )
        os.sched_setaffinity(0, others)
        uvloop.run(load(gateway, 16, 1))  # the price list is read in
        calls = requests(floor, gateway, seconds)
        first_tokens(upstream, floor, gateway, seconds)
        stands = asyncio.run(recorded(nats_url, calls))
        print(f"(e2) events in the log {stands} of {calls}+ calls; {gateway.process.memory_info().rss / 2**20:.0f} MB")


def requests(floor: Server, gateway: Server, seconds: float) -> int:
    """Requests per second, answers in one piece and streams; how many the gateway answered at least."""
    total = 0
    for connections in CONNECTIONS:
        bare = uvloop.run(load(floor, connections, seconds))
        ours = uvloop.run(load(gateway, connections, seconds))
        total += int(ours.per_second * seconds)
        print(
            f"(e2) c={connections:<2} {ours.per_second:5.0f} requests/s (floor {bare.per_second:5.0f}, ratio "
            f"{ours.per_second / bare.per_second:.2f}); processor {ours.cpu_ms:.2f} ms each (floor "
            f"{bare.cpu_ms:.2f}); p50/p99 {ours.p50_ms:.1f}/{ours.p99_ms:.1f} ms (floor {bare.p50_ms:.1f}/"
            f"{bare.p99_ms:.1f})" + ("; goal 2000/s" if connections == 16 else "")
        )
    bare = uvloop.run(load(floor, 16, seconds, stream=True, model="gpt-5-fast"))
    ours = uvloop.run(load(gateway, 16, seconds, stream=True, model="gpt-5-fast"))
    print(
        f"(e2) c=16 {ours.per_second:5.0f} streams/s of 50 tokens (floor {bare.per_second:.0f}, ratio "
        f"{ours.per_second / bare.per_second:.2f}); processor {ours.cpu_ms:.2f} ms each (floor {bare.cpu_ms:.2f})"
    )
    return total + int(ours.per_second * seconds)


def first_tokens(upstream: Server, floor: Server, gateway: Server, seconds: float) -> None:
    """What the first token of a stream waits longer than at the provider itself."""
    for connections in CONNECTIONS:
        direct, bare, ours = (
            uvloop.run(load(server, connections, seconds, stream=True)) for server in (upstream, floor, gateway)
        )
        print(
            f"(e2) c={connections:<2} first token added p50 {ours.first_ms - direct.first_ms:5.2f} ms "
            f"(floor {bare.first_ms - direct.first_ms:.2f})"
        )


def main() -> None:
    """Measures with as many seconds per figure as asked for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=3)
    measure(parser.parse_args().seconds)


if __name__ == "__main__":
    main()

"""(b) Publish to SSE client against a bare NATS subscriber, and (c) replay over SSE against a bare ordered consumer.

The gateway, the publisher and the clients are three processes; NATS syncs every write, as in the product. Both sides
of (b) get the same events at the same pace, receive on one raw socket per client in the same client process, and are
measured from before the append to the arrival. A bare subscriber gets a message before it is durable, a consumer
(and so the gateway) after it; both floors are printed. Goals: (b) p50 within 3x of the bare subscriber, (c) 50,000
events per second and half of the consumer.
"""

import argparse
import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import AsyncGenerator, Generator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import uvloop
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import DeliverPolicy

from runyard_chassis import Tokens
from runyard_events import EventLog, connect, ensure_topology
from runyard_events.catalogue import AssistantDelta, RunCompleted, RunRequested, SessionCreated
from runyard_events.subjects import Scope
from runyard_events.writer import Writer
from runyard_stack.embedded.databases import ensure_database
from runyard_stack.embedded.nats import NatsServer
from runyard_stack.embedded.ports import free_port
from runyard_stack.embedded.postgres import PostgresServer

KEY = "benchmark-key-0123456789abcdef0123456789"
TENANT = str(uuid.uuid4())
CLIENTS = Path(__file__).with_name("streaming_clients.py")
SHAPES = ((1, 1), (100, 1), (500, 50))
"""Clients, and the runs that they are spread over."""
PACE_SECONDS = 0.02
LONG = 10_000
READ = 1 << 20


@dataclass
class Bench:
    """The servers, a connection, and the gateway's address."""

    client: Client
    log: EventLog
    nats_port: int
    gateway_port: int
    token: str


@dataclass
class Run:
    """A run that the gateway knows."""

    scope: Scope
    writer: Writer

    @property
    def path(self) -> str:
        """Its stream."""
        return f"/api/runs/{self.scope.run_id}/events"


@contextlib.contextmanager
def gateway(nats_url: str, database_url: str, port: int) -> Generator[None]:
    """The gateway as a process, until it says that it is ready."""
    environment = {**os.environ, "NATS_URL": nats_url, "DATABASE_URL": database_url, "PORT": str(port)}
    environment |= {"JWT_SECRET_KEY": KEY, "LOG_LEVEL": "WARNING"}
    process = subprocess.Popen([sys.executable, "-m", "runyard_gateway"], env=environment)
    try:
        for _ in range(300):
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=1):
                break
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait(10)


@contextlib.asynccontextmanager
async def bench() -> AsyncGenerator[Bench]:
    """Everything that is measured, started and removed."""
    with tempfile.TemporaryDirectory(prefix="runyard-bench-") as folder:
        os.chmod(folder, 0o755)  # noqa: PTH101, S103 - PostgreSQL runs as a user of its own
        nats = NatsServer(Path(folder) / "nats", free_port())
        postgres = PostgresServer(Path(folder) / "postgres", free_port())
        nats.start()
        postgres.start()
        try:
            database = await ensure_database(postgres, "bench", "runyard", "runyard")
            client = await connect(nats.url, service="bench")
            await ensure_topology(client)
            port = free_port()
            with gateway(nats.url, database, port):
                token = Tokens(KEY).mint(tenant=TENANT, user="bench", lifetime=timedelta(hours=1))
                yield Bench(client, EventLog(client), nats.port, port, token)
            await client.close()
        finally:
            postgres.stop()
            nats.stop()


async def new_run(on: Bench) -> Run:
    """A session with a run that waits for words."""
    session, run = str(uuid.uuid4()), str(uuid.uuid4())
    created = SessionCreated(workspace_id="w", runner_type="codex", thread_id="t")
    opening = Writer(on.log, scope=Scope.session(TENANT, session), source="bench")
    await opening.append(created)
    scope = Scope.run(TENANT, session, run)
    writer = Writer(on.log, scope=scope, source="bench", provider="codex")
    seq = await writer.append(RunRequested(prompt="p", workspace_id="w", runner_type="codex"))
    request = urllib.request.Request(
        f"http://127.0.0.1:{on.gateway_port}/api/runs/{run}?min_seq={seq}",
        headers={"Authorization": f"Bearer {on.token}"},
    )
    await asyncio.to_thread(lambda: urllib.request.urlopen(request, timeout=30).read())
    return Run(scope, writer)


async def received(order: dict[str, object], runs: Sequence[Run], events: int) -> list[float]:
    """Latencies of clients in another process while events are published at a steady pace."""
    argv = [sys.executable, str(CLIENTS)]
    process = await asyncio.create_subprocess_exec(
        *argv, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=64 * READ
    )
    assert process.stdin
    assert process.stdout
    process.stdin.write(json.dumps(order).encode() + b"\n")
    if not await process.stdout.readline():
        raise RuntimeError("the clients could not connect")
    for number in range(events):
        writer = runs[number % len(runs)].writer
        await writer.append(AssistantDelta(text_delta=f"@{time.monotonic_ns()}"))
        await asyncio.sleep(PACE_SECONDS)
    line = await process.stdout.readline()
    await process.wait()
    return sorted(json.loads(line))


async def latency(on: Bench, clients: int, over: int, events: int) -> None:
    """(b) for one number of clients: the bare subscriber, the bare consumer, SSE."""
    common = {"expected": events * clients // over, "seconds": 60 + events * PACE_SECONDS * 5}
    bare = {"kind": "nats", "port": on.nats_port, **common}
    runs, chosen = await some_runs(on, clients, over)
    subscriber = await received({**bare, "topics": [one.scope.subject("ui") for one in chosen]}, runs, events)
    inboxes = [f"bench.{uuid.uuid4().hex}.{number}" for number in range(clients)]
    for inbox, one in zip(inboxes, chosen, strict=True):
        await create_consumer(on.client, inbox, one.scope.subject("ui"))
    consumer = await received({**bare, "topics": inboxes}, runs, events)
    runs, chosen = await some_runs(on, clients, over)  # whose streams have nothing to catch up with
    sse = {"kind": "sse", "port": on.gateway_port, "topics": [one.path for one in chosen], "token": on.token}
    streamed = await received({**sse, **common}, runs, events)
    p50 = [at(one, 0.5) * 1000 for one in (subscriber, consumer, streamed)]
    p99 = [at(one, 0.99) * 1000 for one in (subscriber, consumer, streamed)]
    print(
        f"(b) {clients} clients on {over} run{'s' if over > 1 else ''}: SSE p50 {p50[2]:.2f} / p99 {p99[2]:.2f} ms; "
        f"bare subscriber {p50[0]:.2f} / {p99[0]:.2f} (ratio {p50[2] / p50[0]:.2f}, goal <= 3), "
        f"bare consumer {p50[1]:.2f} / {p99[1]:.2f} (ratio {p50[2] / p50[1]:.2f})"
    )


async def some_runs(on: Bench, clients: int, over: int) -> tuple[list[Run], list[Run]]:
    """New runs, and the one of each client."""
    runs = [await new_run(on) for _ in range(over)]
    return runs, [runs[number % over] for number in range(clients)]


def at(sorted_values: Sequence[float], share: float) -> float:
    """A percentile."""
    return sorted_values[min(int(len(sorted_values) * share), len(sorted_values) - 1)]


async def create_consumer(client: Client, inbox: str, subject: str) -> None:
    """The barest consumer there is: pushes, wants no acknowledgement."""
    name = inbox.replace(".", "_")
    config = {
        "name": name,
        "deliver_subject": inbox,
        "deliver_policy": "new",
        "filter_subject": subject,
        "ack_policy": "none",
        "mem_storage": True,
        "num_replicas": 1,
        "inactive_threshold": 60_000_000_000,
    }
    body = json.dumps({"stream_name": "EVENTS", "config": config}).encode()
    answer = await client.request(f"$JS.API.CONSUMER.CREATE.EVENTS.{name}.{subject}", body, timeout=5)
    if "error" in json.loads(answer.data):
        raise RuntimeError(answer.data)


async def replay(on: Bench, rounds: int) -> None:
    """(c): a long run read whole, over SSE and by an ordered consumer."""
    run = await new_run(on)
    words = [run.writer.stamp(AssistantDelta(text_delta="word " * 10, message_id="m1")) for _ in range(LONG)]
    await run.writer.write(words)
    await run.writer.append(RunCompleted())
    total = LONG + 2
    bare: list[float] = []
    streamed: list[float] = []
    for _ in range(rounds):
        bare.append(total / await consumed(on, run, total))
        streamed.append(total / await asyncio.to_thread(fetched, on, run.path, total))
    best, floor = max(streamed), max(bare)
    median = sorted(streamed)[len(streamed) // 2]
    print(
        f"(c) replay of {total} events: SSE {best:,.0f} events/s (median {median:,.0f}), bare ordered consumer "
        f"{floor:,.0f} (ratio {best / floor:.2f}; goals >= 50,000 and >= 0.5)"
    )


async def consumed(on: Bench, run: Run, total: int) -> float:
    """Seconds that nats-py's ordered consumer takes for all events of a run, on a connection of its own."""
    client = await connect(f"nats://127.0.0.1:{on.nats_port}", service="bench")
    seen, done = 0, asyncio.Event()

    async def count(_: Msg) -> None:
        nonlocal seen
        seen += 1
        if seen >= total:
            done.set()

    began = time.perf_counter()
    await client.jetstream().subscribe(
        f"{run.scope.subject('ui').rpartition('.')[0]}.>",
        stream="EVENTS",
        cb=count,
        ordered_consumer=True,
        deliver_policy=DeliverPolicy.ALL,
    )
    await done.wait()
    seconds = time.perf_counter() - began
    await client.close()
    return seconds


def fetched(on: Bench, path: str, total: int) -> float:
    """Seconds from the connection to the last byte of a run's stream, on a raw socket."""
    began = time.perf_counter()
    with socket.create_connection(("127.0.0.1", on.gateway_port)) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {on.token}\r\n\r\n".encode())
        pieces: list[bytes] = []
        while not (pieces and pieces[-1].endswith(b"0\r\n\r\n")):
            piece = connection.recv(READ)
            if not piece:
                break
            pieces.append(piece)
    seconds = time.perf_counter() - began
    found = b"".join(pieces).count(b"\ndata: ")
    if found != total:
        raise RuntimeError(f"{found} events came, not {total}")
    return seconds


async def measure(events: int, rounds: int) -> None:
    """Both, on one set of servers."""
    async with bench() as on:
        await replay(on, rounds)
        for clients, over in SHAPES:
            await latency(on, clients, over, events)


def main() -> None:
    """Command line: --events N, --rounds N."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(measure(arguments.events, arguments.rounds))


if __name__ == "__main__":
    main()

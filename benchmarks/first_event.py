"""(d) POST prompt to the first event at a client that follows the session, against a bare NATS publish to subscriber.

Goal: p50 under 15 ms. The prompts are answered by the real Codex on the scripted model, one after another: first
each when the run before has left nothing to do (its checkpoint is made), as when a person types; then back to back,
where the checkpoint of the run before is still being made.
"""

import argparse
import asyncio
import json
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from stack_under_test import Client, percentile, repository, running_stack

from runyard_events import connect
from runyard_stack.embedded.nats import NatsServer
from runyard_stack.embedded.ports import free_port

WARM_UP = 3


class Arrival(NamedTuple):
    """An event as it came to the client."""

    at: float
    type: str
    run: str | None


async def bare_floor(rounds: int) -> list[float]:
    """Publish to subscriber on a NATS server of its own."""
    with tempfile.TemporaryDirectory() as folder:
        server = NatsServer(Path(folder) / "nats", free_port(), durable=False)
        server.start()
        client = await connect(server.url, service="bench")
        subscription = await client.subscribe("bench")
        times: list[float] = []
        for _ in range(rounds):
            began = time.perf_counter()
            await client.publish("bench", b"x" * 300)
            await subscription.next_msg()
            times.append(time.perf_counter() - began)
        await client.close()
        server.stop()
    return times


async def measure(rounds: int) -> None:
    """Prompts a warm session `rounds` times in each way."""
    with running_stack() as stack, repository() as folder:
        async with Client.of(stack) as client:
            session = await client.session(await client.import_repository(folder), "codex")
            arrivals: asyncio.Queue[Arrival] = asyncio.Queue()
            follower = asyncio.create_task(follow(client, session, arrivals))
            await prompts(client, session, arrivals, WARM_UP, "checkpoint.created")
            idle = await prompts(client, session, arrivals, rounds, "checkpoint.created")
            back_to_back = await prompts(client, session, arrivals, rounds, "run.completed")
            follower.cancel()
    bare = percentile(await bare_floor(rounds), 0.5)
    for name, times in {"idle": idle, "back to back": back_to_back}.items():
        p50, p99 = percentile(times, 0.5), percentile(times, 0.99)
        print(
            f"(d) POST prompt to first event, {name}: p50 {p50 * 1000:.1f} ms, p99 {p99 * 1000:.1f} ms, "
            f"{p50 / bare:.0f}x a bare NATS hop of {bare * 1e6:.0f} us (goal p50 < 15 ms)"
        )


async def follow(client: Client, session: str, arrivals: asyncio.Queue[Arrival]) -> None:
    """Notes when each event of the session arrives."""
    async for line in client.lines(f"/api/sessions/{session}/events"):
        now = time.perf_counter()
        event = json.loads(line)
        arrivals.put_nowait(Arrival(now, event["type"], event["runId"]))


async def prompts(
    client: Client, session: str, arrivals: asyncio.Queue[Arrival], rounds: int, until: str
) -> list[float]:
    """Seconds to the first event of each prompt; the next one follows upon the event `until` of the one before."""
    times: list[float] = []
    for _ in range(rounds):
        began = time.perf_counter()
        run = await client.prompt(session, "[[script: tokens 3]]")
        first: float | None = None
        while True:
            arrival = await arrivals.get()
            if arrival.run != run:
                continue
            first = first or arrival.at
            if arrival.type == until:
                break
        times.append(first - began)
    return times


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    asyncio.run(measure(parser.parse_args().rounds))

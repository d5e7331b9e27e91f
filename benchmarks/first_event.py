"""(d) POST prompt to the first event at a client that follows the session, against a bare NATS publish to subscriber.

Goal: p50 under 15 ms. The prompts are answered by the real Codex on the scripted model, one after another.
"""

import argparse
import asyncio
import json
import tempfile
import time
from pathlib import Path

from stack_under_test import Client, percentile, repository, running_stack

from runyard_events import connect
from runyard_stack.embedded.nats import NatsServer
from runyard_stack.embedded.ports import free_port


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
    """Prompts a warm session `rounds` times."""
    times: list[float] = []
    with running_stack() as stack, repository() as folder:
        async with Client.of(stack) as client:
            session = await client.session(await client.import_repository(folder), "codex")
            arrivals: asyncio.Queue[tuple[float, str, str | None]] = asyncio.Queue()

            async def follow() -> None:
                async for line in client.lines(f"/api/sessions/{session}/events"):
                    now = time.perf_counter()
                    event = json.loads(line)
                    arrivals.put_nowait((now, event["type"], event["runId"]))

            follower = asyncio.create_task(follow())
            for number in range(rounds + 3):
                while not arrivals.empty():
                    arrivals.get_nowait()
                began = time.perf_counter()
                run = await client.prompt(session, "[[script: tokens 3]]")
                first = None
                while True:
                    now, kind, of = await arrivals.get()
                    if of == run and first is None:
                        first = now
                    if of == run and kind == "run.completed":
                        break
                assert first is not None
                if number >= 3:
                    times.append(first - began)
            follower.cancel()
    floor = await bare_floor(rounds)
    p50, p99, bare = percentile(times, 0.5), percentile(times, 0.99), percentile(floor, 0.5)
    print(
        f"(d) POST prompt to first event: p50 {p50 * 1000:.1f} ms, p99 {p99 * 1000:.1f} ms, "
        f"{p50 / bare:.0f}x a bare NATS hop of {bare * 1e6:.0f} us (goal p50 < 15 ms)"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    asyncio.run(measure(parser.parse_args().rounds))

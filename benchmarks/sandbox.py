"""Containers of sessions: from a prompt to the first event from inside, beside a bare `docker run` of the same image.

Cold: the session has no container yet. Warm: it runs. The bare floor is `docker run` of the same image, which loads
the same program and prints a line; both sides are measured in turn, so that both see the same machine.
Then what a session takes of memory, for each agent, and twenty sessions at once.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from datetime import datetime

from stack_under_test import Client, StackUnderTest, median, percentile, repository, running_stack

AGENTS = ("codex", "claude")
HELLO = "[[script: tokens 5]]"
SLOW = "[[script: tokens 120 delay 50]]"
LOAD = "import runyard_runner.sandboxed, runyard_runner_{0}.__main__; print('loaded', flush=True)"
GOALS_MB = {"codex": 200, "claude": 300}
GOAL_ADDED_MS = 150


def docker(*arguments: str) -> str:
    """What the engine's command prints."""
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=True).stdout.strip()


def bare(image: str, agent: str) -> float:
    """Milliseconds from `docker run` to the first line of a program that has loaded what the runner loads."""
    argv = ["docker", "run", "--rm", image, "python", "-c", LOAD.format(agent)]
    began = time.perf_counter()
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        process.stdout.readline()
        took = (time.perf_counter() - began) * 1000
        process.wait()
    return took


async def first_event(client: Client, session: str) -> tuple[float, float]:
    """Milliseconds from the prompt to `run.started` at the client, and from the dispatch on by the log's clock."""
    began = time.perf_counter()
    run = await client.prompt(session, HELLO)
    dispatched, took, inside = None, 0.0, 0.0
    async for line in client.lines(f"/api/runs/{run}/events"):
        event = json.loads(line)
        at = datetime.fromisoformat(event["at"])
        if event["type"] == "run.dispatched":
            dispatched = at
        if event["type"] == "run.started" and dispatched:
            took = (time.perf_counter() - began) * 1000
            inside = (at - dispatched).total_seconds() * 1000
        if event["type"] in {"run.error", "run.cancelled"}:
            raise RuntimeError(f"the run ended with {event['payload']}")
    return took, inside


def memory_mb(session: str) -> float:
    """What a session's container uses now, without what the kernel could drop: MB."""
    name = docker("ps", "--filter", f"label=runyard.owner={session}", "--format", "{{.Names}}")
    shown = docker("stats", "--no-stream", "--format", "{{.MemUsage}}", name).split("/")[0].strip()
    for unit, factor in (("GiB", 1024.0), ("MiB", 1.0), ("KiB", 1 / 1024)):
        if shown.endswith(unit):
            return float(shown.removesuffix(unit)) * factor * 1.048576
    return 0.0


def row(name: str, values: list[float]) -> None:
    """One line of the table."""
    print(f"  {name:<46} p50 {median(values):7.0f} ms   p90 {percentile(values, 0.9):7.0f} ms")


async def latency(client: Client, workspace: str, agent: str, rounds: int) -> None:
    """Cold, warm and bare, in turn."""
    image = f"runyard/runner-{agent}:{os.environ.get('TAG', 'latest')}"
    floor: list[float] = []
    cold: list[tuple[float, float]] = []
    warm: list[tuple[float, float]] = []
    for number in range(rounds + 1):
        session = await client.session(workspace, agent)
        one = await asyncio.to_thread(bare, image, agent)
        first, second = await first_event(client, session), await first_event(client, session)
        if number:  # the first round fills caches of both sides
            floor.append(one)
            cold.append(first)
            warm.append(second)
        await client.delete(f"/api/sessions/{session}")
    print(f"\n{agent}, {rounds} rounds")
    row("bare `docker run`, the runner's modules loaded", floor)
    row("cold: prompt to first event, at the client", [each for each, _ in cold])
    row("cold: dispatch to first event", [each for _, each in cold])
    row("warm: prompt to first event, at the client", [each for each, _ in warm])
    added = median([each for _, each in cold]) - median(floor)
    print(f"  cold, beside bare: {added:+.0f} ms (at most +{GOAL_ADDED_MS})")


async def footprint(client: Client, workspace: str, agent: str) -> None:
    """Memory of a session's container in the middle of a run."""
    session = await client.session(workspace, agent)
    run = await client.prompt(session, SLOW)
    peak = 0.0
    ending = asyncio.create_task(client.end_of(run))
    while not ending.done():
        await asyncio.sleep(0.2)
        try:
            peak = max(peak, await asyncio.to_thread(memory_mb, session))
        except subprocess.CalledProcessError:
            continue  # not there yet
    idle = await asyncio.to_thread(memory_mb, session)
    print(f"{agent}: {peak:.0f} MB in a run (goal: below {GOALS_MB[agent]}), {idle:.0f} MB after it")
    await client.delete(f"/api/sessions/{session}")


async def many(client: Client, workspace: str, count: int) -> None:
    """Sessions at once, each with a container of its own."""
    sessions = [await client.session(workspace, AGENTS[number % 2]) for number in range(count)]
    began = time.perf_counter()
    runs = await asyncio.gather(*(client.prompt(session, HELLO) for session in sessions))
    ends = await asyncio.gather(*(client.end_of(run) for run in runs))
    took = time.perf_counter() - began
    used = [await asyncio.to_thread(memory_mb, session) for session in sessions]
    done = ends.count("run.completed")
    print(f"\n{count} sessions at once, half of each agent: {done}/{count} completed in {took:.1f} s", end="")
    print(f", {sum(used):.0f} MB together after it")
    for session in sessions:
        await client.delete(f"/api/sessions/{session}")


async def measure(stack: StackUnderTest, options: argparse.Namespace) -> None:
    """All of it."""
    async with Client.of(stack) as client:
        with repository() as folder:
            workspace = await client.import_repository(folder)
            for agent in AGENTS:
                await latency(client, workspace, agent, options.rounds)
            print()
            for agent in AGENTS:
                await footprint(client, workspace, agent)
            await many(client, workspace, options.sessions)


def main() -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(description="Measures containers of sessions.")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--sessions", type=int, default=20)
    options = parser.parse_args()
    tag = os.environ.get("TAG", "latest")
    os.environ |= {"SANDBOX": "docker", "SANDBOX_IMAGE": f"runyard/runner-{{runner}}:{tag}"}
    with running_stack() as stack:
        asyncio.run(measure(stack, options))
    return 0


if __name__ == "__main__":
    sys.exit(main())

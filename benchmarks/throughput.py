"""(e) Many at once: 32 sessions with 5 runs each of 50 tokens on the real Codex, against Codex driven directly.

Goal: more than 12 runs per second, all of them completed.
"""

import argparse
import asyncio
import time
from pathlib import Path

import direct_agents
from stack_under_test import Client, repository, running_stack

from runyard_stack.testing_model import scripted_model

PROMPT = "[[script: tokens 50]]"


async def bare_floor(model: str, folder: Path, runs: int, at_once: int) -> float:
    """Runs per second of Codex processes driven directly, `at_once` at a time, each one turn."""
    places = asyncio.Semaphore(at_once)

    async def one() -> None:
        async with places:
            await direct_agents.codex(model, folder, PROMPT)

    began = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(runs)))
    return runs / (time.perf_counter() - began)


async def measure(sessions: int, runs: int) -> None:
    """All sessions at once, their runs one after another."""
    ends: list[str] = []
    with running_stack() as stack, repository() as folder:
        async with Client.of(stack) as client:
            workspace = await client.import_repository(folder)
            identifiers = [await client.session(workspace, "codex") for _ in range(sessions)]

            async def converse(session: str) -> None:
                for _ in range(runs):
                    ends.append(await client.end_of(await client.prompt(session, PROMPT)))

            began = time.perf_counter()
            await asyncio.gather(*(converse(session) for session in identifiers))
            rate = sessions * runs / (time.perf_counter() - began)
    with scripted_model() as model, repository() as folder:
        floor = await bare_floor(model, folder, sessions, 4)
    completed = ends.count("run.completed")
    print(
        f"(e) {sessions} sessions x {runs} runs: {rate:.1f} runs/s, {completed}/{len(ends)} completed, "
        f"{rate / floor:.2f}x Codex processes driven directly ({floor:.1f} runs/s) (goal > 12 runs/s)"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=32)
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    asyncio.run(measure(arguments.sessions, arguments.runs))

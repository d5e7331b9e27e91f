"""(a) What the platform costs: a run through it against the same agent driven directly, on the same scripted model.

Both include the start of the agent's process: every run is the first one of its session. Direct and platform runs
take turns, so a busy neighbour disturbs both. Prints the ratio of the medians; the goal is at most 1.10.
"""

import argparse
import asyncio
import time

from direct_agents import AGENTS
from stack_under_test import Client, median, repository, running_stack

from runyard_stack.testing_model import scripted_model

PROMPT = (
    '[[script: {"steps": [{"say": "I look around."}, {"run": "ls -a"}, {"tokens": 50, "delay_ms": 2}, '
    '{"run": "wc -c README.md"}, {"tokens": 100, "delay_ms": 2}]}]]'
)


async def measure(agent: str, rounds: int) -> None:
    """One agent: `rounds` runs of each kind."""
    direct: list[float] = []
    through: list[float] = []
    with scripted_model() as model, running_stack() as stack, repository() as folder:
        async with Client.of(stack) as client:
            workspace = await client.import_repository(folder)
            for number in range(rounds + 2):
                began = time.perf_counter()
                await AGENTS[agent](model, folder, PROMPT)
                bare = time.perf_counter() - began
                session = await client.session(workspace, agent)
                began = time.perf_counter()
                run = await client.prompt(session, PROMPT)
                end = await client.end_of(run)
                seconds = time.perf_counter() - began
                if end != "run.completed":
                    raise RuntimeError(f"the run ended as {end}")
                if number >= 2:  # the first two warm the caches of both
                    direct.append(bare)
                    through.append(seconds)
    print(
        f"(a) {agent}: direct {median(direct) * 1000:.0f} ms, platform {median(through) * 1000:.0f} ms, "
        f"ratio {median(through) / median(direct):.3f} (median of {rounds}; goal <= 1.10)"
    )


def main() -> None:
    """Command line: --rounds N, --agent NAME."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--agent", choices=sorted(AGENTS), action="append")
    arguments = parser.parse_args()
    for agent in arguments.agent or sorted(AGENTS):
        asyncio.run(measure(agent, arguments.rounds))


if __name__ == "__main__":
    main()

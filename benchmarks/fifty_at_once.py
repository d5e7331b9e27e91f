"""(e) 50 runs at once on a stub agent: all complete. Without an agent's process what is left is the platform itself.

The whole stack in this process, with the stub of `runyard_runner.testing` where Codex would be; the floor is the same
50 turns of the stub with nobody listening.
"""

import argparse
import asyncio
import contextlib
import tempfile
import time
from collections.abc import AsyncGenerator
from pathlib import Path

from stack_under_test import Client, StackUnderTest, repository

import runyard_runner_codex.app as codex
from runyard_chassis.logs import configure_logging
from runyard_chassis.service import Service
from runyard_runner.service import build_runner
from runyard_runner.settings import RunnerSettings
from runyard_runner.testing import Say, StubAgent, UseTool
from runyard_stack.credentials import Credentials
from runyard_stack.layout import Layout
from runyard_stack.progress import ConsoleProgress
from runyard_stack.state import State
from runyard_stack.supervisor import Stack
from runyard_stack.testing import free_base
from runyard_stack.tokens import admin_token

TOKENS = 50
DELAY_SECONDS = 0.01


def stub() -> StubAgent:
    """Speaks, uses a tool, speaks again."""
    return StubAgent(lambda _: [Say(TOKENS, DELAY_SECONDS), UseTool(), Say(TOKENS, DELAY_SECONDS)])


def build_stub(settings: RunnerSettings) -> Service:
    """A runner of type codex with the stub."""
    return build_runner("runner-codex", "codex", settings, stub())


@contextlib.asynccontextmanager
async def stack_with_a_stub() -> AsyncGenerator[StackUnderTest]:
    """The product in this process."""
    configure_logging("ERROR")
    codex.build = build_stub  # pyright: ignore[reportAttributeAccessIssue]
    ready: asyncio.Future[tuple[State, Credentials]] = asyncio.get_running_loop().create_future()
    stop = asyncio.Event()

    def is_ready(state: State, credentials: Credentials, _seconds: float) -> None:
        ready.set_result((state, credentials))

    with tempfile.TemporaryDirectory(prefix="runyard-bench-", ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        home.chmod(0o755)
        layout = Layout(home, free_base())
        running = asyncio.create_task(Stack(layout, ConsoleProgress(), on_ready=is_ready).run(stop))
        await asyncio.wait([running, ready], return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            await running
        _, credentials = ready.result()
        try:
            yield StackUnderTest(home, layout.port_base, 0.0, admin_token(credentials, {}))
        finally:
            stop.set()
            await running


async def measure(runs: int) -> None:
    """Prompts `runs` sessions at once and waits for every end."""
    with repository() as folder:
        async with stack_with_a_stub() as stack, Client.of(stack) as client:
            workspace = await client.import_repository(folder)
            sessions = [await client.session(workspace, "codex") for _ in range(runs)]

            async def one(session: str) -> str:
                return await client.end_of(await client.prompt(session, "go"))

            began = time.perf_counter()
            ends = await asyncio.gather(*(one(session) for session in sessions))
            seconds = time.perf_counter() - began
    bare = 2 * TOKENS * DELAY_SECONDS
    print(
        f"(e) {runs} runs at once on a stub agent: {ends.count('run.completed')}/{runs} completed in {seconds:.1f} s, "
        f"{seconds / bare:.1f}x the stub's own {bare:.1f} s (goal: all complete)"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=50)
    asyncio.run(measure(parser.parse_args().runs))

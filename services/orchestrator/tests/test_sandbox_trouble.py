"""Whatever goes wrong with engine, containers and service at once: each run ends once, and nothing is left."""

import asyncio
import os
import random
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any, Self

import pytest

from runyard_events.catalogue import TERMINAL_TYPES
from runyard_events.commands import CancelRun, DeleteSession
from runyard_events.topology import sandbox_queues
from runyard_sandbox import EngineAway, ProvisionFailed, SandboxFault

from .yards import Yard, until, yard

__all__ = ["yard"]

CALLS = ("check", "provision", "stop", "start", "delete", "find", "list")
HAPPENINGS = ("session", "prompt", "prompt", "prompt", "kill", "lose", "run out", "restart", "delete", "cancel")
ROUNDS = 60
SEEDS = [int(seed) for seed in os.environ.get("SEEDS", "1 2").split()]


class Trouble:
    """Every fourth call of the engine goes wrong in one of the ways in which calls do, as long as `is_on`."""

    def __init__(self, yard: Yard, dice: random.Random) -> None:
        self.is_on = True
        self._dice = dice
        for name in CALLS:
            setattr(yard.engine, name, self._faulty(getattr(yard.engine, name)))

    def _faulty(self, call: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def faulty(*given: Any, **named: Any) -> Any:
            kind = self._dice.randrange(16) if self.is_on else -1
            if kind == 0:
                raise EngineAway("it does not answer")
            if kind == 1:
                raise SandboxFault("500")
            if kind == 2 and call.__name__ == "provision":
                raise ProvisionFailed("no room")
            if kind == 3:
                await asyncio.sleep(self._dice.random())
            answer = await call(*given, **named)
            if kind == 4:
                raise EngineAway("it has done it, and does not say so")
            return answer

        return faulty


class Day:
    """Sessions, runs and two replicas, to which this and that happens."""

    def __init__(self, yard: Yard, dice: random.Random) -> None:
        self.yard = yard
        self.dice = dice
        self.sessions: list[str] = []
        self.runs: list[tuple[str, str]] = []
        self._replicas = [AsyncExitStack(), AsyncExitStack()]

    async def __aenter__(self) -> Self:
        for number in range(len(self._replicas)):
            await self._restart(number)
        return self

    async def __aexit__(self, *_: object) -> None:
        for replica in self._replicas:
            await replica.aclose()

    async def happen(self, what: str) -> None:
        world, engine, dice = self.yard.world, self.yard.engine, self.dice
        running = [name for name, held in engine.held.items() if held.sandbox.status == "running"]
        match what:
            case "session" if len(self.sessions) < 6:
                self.sessions.append(await world.session())
            case "prompt" if self.sessions:
                session_id = dice.choice(self.sessions)
                self.runs.append((session_id, await world.prompt(session_id)))
            case "kill" | "lose" | "run out" if running:
                {"kill": engine.kill, "lose": engine.lose, "run out": engine.out_of_memory}[what](dice.choice(running))
            case "restart":
                await self._restart(dice.randrange(len(self._replicas)))
            case "delete" if len(self.sessions) > 3:
                gone = self.sessions.pop(dice.randrange(len(self.sessions)))
                await world.ask(DeleteSession(session_id=gone))
            case "cancel" if self.runs:
                session_id, run_id = dice.choice(self.runs)
                await world.ask(CancelRun(session_id=session_id, run_id=run_id))
            case _:
                pass

    async def ends(self) -> list[int]:
        """How often each run has ended."""
        types = [await self.yard.world.types(*run) for run in self.runs]
        return [sum(one in TERMINAL_TYPES for one in told) for told in types]

    async def _restart(self, number: int) -> None:
        await self._replicas[number].aclose()
        replica = self._replicas[number] = AsyncExitStack()
        hasty = {"sandbox_idle_seconds": 1, "sandbox_archive_seconds": 3.0, "sandbox_backoff_seconds": 0.01}
        await replica.enter_async_context(self.yard.serving(sandbox_restarts=8, **hasty))


@pytest.mark.soak
@pytest.mark.timeout(180)
@pytest.mark.parametrize("seed", SEEDS)
async def test_each_run_ends_once_and_nothing_is_left(yard: Yard, seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311 - a day that can be had again, as far as time allows
    trouble = Trouble(yard, dice)
    async with Day(yard, dice) as day:
        for _ in range(ROUNDS):
            await day.happen(dice.choice(HAPPENINGS))
            await asyncio.sleep(dice.random() / 10)
        trouble.is_on = False

        async def all_have_ended() -> bool:
            return all(await day.ends())

        await until(all_have_ended)
        assert set(await day.ends()) == {1}
        assert set(yard.engine.most_at_once.values()) == {1}

        for session_id in day.sessions:
            await yard.world.ask(DeleteSession(session_id=session_id))
        homes = yard.settings.agents_root / "sandbox"

        async def nothing_is_left() -> bool:
            return not (yard.engine.held or list(homes.iterdir()) or await sandbox_queues(yard.client))

        await until(nothing_is_left)

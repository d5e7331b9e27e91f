"""A world whose service has an engine: what tests of containers are played in."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client

from runyard_chassis import Service
from runyard_events import EventLog, Reply
from runyard_events.commands import ControlSandbox, SandboxAction
from runyard_events.subjects import session_subject
from runyard_orchestrator.settings import Settings

from .boxed import BoxedRunner
from .conftest import World, serving
from .engine import MemoryEngine


@dataclass
class Yard:
    """The world with an engine, and what a test asks of both."""

    world: World
    engine: MemoryEngine
    runner: BoxedRunner
    settings: Settings
    client: Client

    @asynccontextmanager
    async def serving(self, **more: Any) -> AsyncGenerator[Service, None]:
        async with serving(self.settings.model_copy(update=more), self.engine) as service:
            yield service

    async def control(self, session_id: str, action: SandboxAction) -> Reply:
        return await self.world.ask(ControlSandbox(session_id=session_id, action=action))

    async def statuses(self, session_id: str) -> list[str]:
        subject = session_subject(self.world.tenant, session_id, "sandbox")
        return [stored.event.type.removeprefix("sandbox.") async for stored in self.world.log.replay(subject)]

    async def begun(self, **fields: Any) -> tuple[str, str]:
        """A session whose run is under way in its container, and that run: it ends when it is finished."""
        self.runner.holds = True
        session_id = await self.world.session(**fields)
        run_id = await self.world.prompt(session_id)
        await self.world.seen(session_id, "run.started", run_id=run_id)
        return session_id, run_id

    async def finish(self, session_id: str, run_id: str) -> None:
        self.runner.let_go(run_id)
        await self.ended(session_id, run_id)

    async def ended(self, session_id: str, run_id: str, how: str = "run.completed") -> Any:
        return (await self.world.seen(session_id, how, run_id=run_id)).event.payload

    def name(self, session_id: str, epoch: int = 1) -> str:
        return f"runyard-{session_id[:8]}-{epoch}"


@pytest.fixture
async def yard(
    surroundings: World, nats_client: Client, event_log: EventLog, settings: Settings, tmp_path: Path
) -> AsyncIterator[Yard]:
    runner = BoxedRunner(nats_client, event_log)
    engine = MemoryEngine(main=runner.main)
    hasty = {
        "sandbox": "docker",
        "reconcile_seconds": 0.2,
        "sandbox_backoff_seconds": 0.05,
        "agents_root": tmp_path,
        "resend_seconds": 2.0,
    }
    yield Yard(surroundings, engine, runner, settings.model_copy(update=hasty), nats_client)
    await engine.shut_down()


async def until(holds: Callable[[], bool | Awaitable[bool]]) -> None:
    """An engine in memory tells nobody that it has been asked: it is looked at again and again."""
    async with asyncio.timeout(20):
        while True:
            found = holds()
            if found is True or (not isinstance(found, bool) and await found):
                return
            await asyncio.sleep(0.02)


def watched(service: Service) -> Counter[str]:
    """How often the keeper looks at everything (`once`), and at one session (`look_at`), from now on."""
    keeper, seen = service.app.state.sandboxing.keeper, Counter[str]()

    def counted(name: str) -> Callable[..., Awaitable[None]]:
        original = getattr(keeper, name)

        async def count(*given: Any) -> None:
            seen[name] += 1
            await original(*given)

        return count

    for name in ("once", "look_at"):
        setattr(keeper, name, counted(name))
    return seen

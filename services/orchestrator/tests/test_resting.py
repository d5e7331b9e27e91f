"""What becomes of sandboxes when all of an installation is taken down, and when only this service ends."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from runyard_events.catalogue import PreviewStarting, PreviewStopped
from runyard_orchestrator.adapters.rest_file import RestFile
from runyard_orchestrator.app import build
from runyard_orchestrator.handlers import resting
from runyard_orchestrator.settings import Settings

from .engine import MemoryEngine
from .test_previews import Previewer, around
from .yards import Yard, until, yard

__all__ = ["around", "yard"]

UP = ["requested", "creating", "running"]


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    return settings.model_copy(update={"agents_root": tmp_path / "agents", "reconcile_seconds": 0.2})


@pytest.fixture
def rest_file(tmp_path: Path) -> Path:
    return tmp_path / "taken-down"


@pytest.fixture
async def resting_yard(yard: Yard, rest_file: Path) -> Yard:
    yard.settings = yard.settings.model_copy(update={"sandbox_rest_file": rest_file})
    return yard


def take_down(rest_file: Path) -> None:
    rest_file.touch()


async def at_work(yard: Yard) -> tuple[str, str, str]:
    """A session whose run is under way, that run, and a session whose container has nothing to do."""
    yard.runner.holds = True
    busy, idle = await yard.world.session(), await yard.world.session()
    done = await yard.world.prompt(idle)
    yard.runner.let_go(done)
    await yard.ended(idle, done)
    run_id = await yard.world.prompt(busy)
    await yard.world.seen(busy, "run.started", run_id=run_id)
    return busy, run_id, idle


def running(yard: Yard) -> list[str]:
    return [held.sandbox.name for held in yard.engine.held.values() if held.sandbox.status == "running"]


async def reason(yard: Yard, session_id: str) -> str:
    return (await yard.world.seen(session_id, "sandbox.stopped")).event.payload.reason


async def test_taken_down_with_the_installation_they_rest_and_the_log_says_so(
    resting_yard: Yard, rest_file: Path
) -> None:
    yard = resting_yard
    async with yard.serving():
        busy, run_id, idle = await at_work(yard)
        take_down(rest_file)
    assert running(yard) == []
    for session_id in (busy, idle):
        assert await yard.statuses(session_id) == [*UP, "stopped"]
        assert await reason(yard, session_id) == "shutdown"

    for name in list(yard.engine.held):
        yard.engine.lose(name)  # as whoever takes it down removes them
    async with yard.serving():
        assert not RestFile(rest_file).is_there
        yard.runner.let_go(run_id)
        await yard.ended(busy, run_id)
        types = await yard.world.types(busy, run_id)
        again = await yard.world.prompt(busy)
        yard.runner.let_go(again)
        await yard.ended(busy, again)

    assert types.count("run.started") == types.count("run.resumed") == types.count("run.completed") == 1
    assert yard.runner.starts[-1].native_thread_id == f"native-{busy}"
    assert "error" not in await yard.statuses(busy)
    assert await yard.statuses(idle) == [*UP, "stopped"]


async def test_one_that_is_only_at_rest_is_started_again(resting_yard: Yard, rest_file: Path) -> None:
    yard = resting_yard
    async with yard.serving():
        busy, run_id, _ = await at_work(yard)
        take_down(rest_file)
    async with yard.serving():
        yard.runner.let_go(run_id)
        await yard.ended(busy, run_id)
    assert await yard.statuses(busy) == [*UP, "stopped", "requested", "running"]
    assert yard.engine.most_at_once[busy] == 1


async def test_a_service_that_was_dead_says_at_its_next_start_that_they_were_ended(
    resting_yard: Yard, rest_file: Path
) -> None:
    yard = resting_yard
    async with yard.serving():
        busy, run_id, idle = await at_work(yard)
    take_down(rest_file)
    for name in list(yard.engine.held):
        yard.engine.lose(name)
    async with yard.serving():
        yard.runner.let_go(run_id)
        await yard.ended(busy, run_id)

    for session_id in (busy, idle):
        assert await reason(yard, session_id) == "shutdown"
        assert "error" not in await yard.statuses(session_id)
    types = await yard.world.types(busy, run_id)
    assert types.count("run.resumed") == types.count("run.completed") == 1


async def test_a_service_that_ends_for_itself_alone_stops_nothing(resting_yard: Yard) -> None:
    yard = resting_yard
    async with yard.serving():
        busy, run_id, idle = await at_work(yard)
    assert len(running(yard)) == 2
    async with yard.serving():
        yard.runner.let_go(run_id)
        await yard.ended(busy, run_id)
    assert await yard.statuses(busy) == await yard.statuses(idle) == UP
    assert "run.resumed" not in await yard.world.types(busy, run_id)


async def test_an_engine_that_hangs_holds_up_the_end_only_for_a_while(
    resting_yard: Yard, rest_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(_name: str, *, grace_seconds: float) -> None:
        await asyncio.sleep(3600 + grace_seconds)

    yard = resting_yard
    monkeypatch.setattr(resting, "_STOPPING_SECONDS", 0.2)
    async with asyncio.timeout(60), yard.serving():
        busy, run_id, idle = await at_work(yard)
        monkeypatch.setattr(yard.engine, "stop", hang)
        take_down(rest_file)
    for session_id in (busy, idle):
        assert await reason(yard, session_id) == "shutdown"
    monkeypatch.undo()
    async with yard.serving():
        await until(lambda: yard.name(idle) not in running(yard))
        yard.runner.let_go(run_id)
        await yard.ended(busy, run_id)
    assert yard.engine.most_at_once[busy] == 1


async def test_previews_in_containers_go_down_with_the_installation_and_come_back(
    around: Previewer, rest_file: Path
) -> None:
    settings = around.world.settings.model_copy(update={"sandbox": "docker", "sandbox_rest_file": rest_file})
    engine = MemoryEngine()

    @asynccontextmanager
    async def serving() -> AsyncGenerator[None]:
        service = build(settings, engine)
        async with service.app.router.lifespan_context(service.app):
            yield

    async with serving():
        preview = await around.create(command="true")
        await around.until(preview, PreviewStarting)
        await until(lambda: len(engine.held) == 1)
        take_down(rest_file)
    assert engine.held == {}
    assert (await around.until(preview, PreviewStopped)).reason == "shutdown"

    async with serving():
        await around.until(preview, PreviewStarting, 2)
        await until(lambda: len(engine.held) == 1)
    take_down(rest_file)
    engine.lose(next(iter(engine.held)))
    async with serving():
        assert (await around.until(preview, PreviewStopped, 2)).reason == "shutdown"
        assert (await around.until(preview, PreviewStarting, 3)).generation == 3
    assert "failed" not in await around.types(preview)
    await engine.shut_down()

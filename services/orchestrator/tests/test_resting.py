"""What becomes of sandboxes when all of an installation is taken down, and when only this service ends."""

import asyncio
from pathlib import Path

import pytest

from runyard_events.catalogue import PreviewStarting, PreviewStopped
from runyard_orchestrator.adapters.rest_file import RestFile
from runyard_orchestrator.handlers import resting
from runyard_orchestrator.settings import Settings

from .conftest import serving
from .engine import MemoryEngine
from .previewers import Previewer, around
from .yards import Yard, until, yard

__all__ = ["around", "yard"]

UP = ["requested", "creating", "running"]


@pytest.fixture
def rest_file(tmp_path: Path) -> Path:
    return tmp_path / "taken-down"


@pytest.fixture
def settings(settings: Settings, tmp_path: Path, rest_file: Path) -> Settings:
    more = {"agents_root": tmp_path / "agents", "reconcile_seconds": 0.2, "sandbox_rest_file": rest_file}
    return settings.model_copy(update=more)


def take_down(rest_file: Path) -> None:
    rest_file.touch()


def remove_all(yard: Yard) -> None:
    """As whoever takes an installation down removes its containers."""
    for name in list(yard.engine.held):
        yard.engine.lose(name)


async def at_work(yard: Yard) -> tuple[str, str, str]:
    """A session whose run is under way, that run, and a session whose container has nothing to do."""
    busy, run_id = await yard.begun()
    idle = await yard.world.session()
    await yard.finish(idle, await yard.world.prompt(idle))
    return busy, run_id, idle


def running(yard: Yard) -> list[str]:
    return [held.sandbox.name for held in yard.engine.held.values() if held.sandbox.status == "running"]


async def reason(yard: Yard, session_id: str) -> str:
    return (await yard.world.seen(session_id, "sandbox.stopped")).event.payload.reason


async def test_taken_down_with_the_installation_they_rest_and_the_log_says_so(yard: Yard, rest_file: Path) -> None:
    async with yard.serving():
        busy, run_id, idle = await at_work(yard)
        take_down(rest_file)
    assert running(yard) == []
    for session_id in (busy, idle):
        assert await yard.statuses(session_id) == [*UP, "stopped"]
        assert await reason(yard, session_id) == "shutdown"

    remove_all(yard)
    async with yard.serving():
        assert not RestFile(rest_file).is_there
        await yard.finish(busy, run_id)
        types = await yard.world.types(busy, run_id)
        await yard.finish(busy, await yard.world.prompt(busy))

    assert types.count("run.started") == types.count("run.resumed") == types.count("run.completed") == 1
    assert yard.runner.starts[-1].native_thread_id == f"native-{busy}"
    assert "error" not in await yard.statuses(busy)
    assert await yard.statuses(idle) == [*UP, "stopped"]


async def test_one_that_is_only_at_rest_is_started_again(yard: Yard, rest_file: Path) -> None:
    async with yard.serving():
        busy, run_id, _ = await at_work(yard)
        take_down(rest_file)
    async with yard.serving():
        await yard.finish(busy, run_id)
    assert await yard.statuses(busy) == [*UP, "stopped", "requested", "running"]
    assert yard.engine.most_at_once[busy] == 1


async def test_a_service_that_was_dead_says_at_its_next_start_that_they_were_ended(yard: Yard, rest_file: Path) -> None:
    async with yard.serving():
        busy, run_id, idle = await at_work(yard)
    take_down(rest_file)
    remove_all(yard)
    async with yard.serving():
        await yard.finish(busy, run_id)

    for session_id in (busy, idle):
        assert await reason(yard, session_id) == "shutdown"
        assert "error" not in await yard.statuses(session_id)
    types = await yard.world.types(busy, run_id)
    assert types.count("run.resumed") == types.count("run.completed") == 1


async def test_a_service_that_ends_for_itself_alone_stops_nothing(yard: Yard) -> None:
    async with yard.serving():
        busy, run_id, idle = await at_work(yard)
    assert len(running(yard)) == 2
    async with yard.serving():
        await yard.finish(busy, run_id)
    assert await yard.statuses(busy) == await yard.statuses(idle) == UP
    assert "run.resumed" not in await yard.world.types(busy, run_id)


async def test_an_engine_that_hangs_holds_up_the_end_only_for_a_while(
    yard: Yard, rest_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(_name: str, *, grace_seconds: float) -> None:
        await asyncio.sleep(3600 + grace_seconds)

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
        await yard.finish(busy, run_id)
    assert yard.engine.most_at_once[busy] == 1


async def test_previews_in_containers_go_down_with_the_installation_and_come_back(
    around: Previewer, rest_file: Path
) -> None:
    chosen, engine = around.world.settings.model_copy(update={"sandbox": "docker"}), MemoryEngine()
    async with serving(chosen, engine):
        preview = await around.create(command="true")
        await around.until(preview, PreviewStarting)
        await until(lambda: len(engine.held) == 1)
        take_down(rest_file)
    assert engine.held == {}
    assert (await around.until(preview, PreviewStopped)).reason == "shutdown"

    async with serving(chosen, engine):
        await around.until(preview, PreviewStarting, 2)
        await until(lambda: len(engine.held) == 1)
    take_down(rest_file)
    engine.lose(next(iter(engine.held)))
    async with serving(chosen, engine):
        assert (await around.until(preview, PreviewStopped, 2)).reason == "shutdown"
        assert (await around.until(preview, PreviewStarting, 3)).generation == 3
    assert "failed" not in await around.types(preview)
    await engine.shut_down()

"""The container engine is stopped, killed and started again while agents work in its containers."""

import asyncio
import os
import re
import signal
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.docker.own_engine import OwnEngine
from tests.docker.remains import assert_nothing_is_left, files_of
from tests.runs import LONG, ends

if TYPE_CHECKING:
    from tests.conftest import Api, Stack
    from tests.docker.conftest import Engine

pytestmark = [pytest.mark.docker, pytest.mark.faults, pytest.mark.agents, pytest.mark.timeout(300)]
ENGINE_SECONDS = 8
"""How long the stack bears an engine that does not answer before it says so."""


@pytest.fixture(scope="module")
def own_engine(images: str) -> Iterator[OwnEngine]:
    if os.geteuid():
        pytest.skip("only root can start an engine")
    one = OwnEngine()
    try:
        one.start()
        one.load(*(f"runyard/runner-{agent}:{images}" for agent in ("codex", "claude")))
        yield one
    finally:
        one.remove()


@pytest.fixture(scope="module")
def stack(
    own_engine: OwnEngine, data_folder: Path, new_stack: Callable[..., "Stack"], images: str
) -> Iterator["Stack"]:
    before = os.environ.get("DOCKER_HOST")
    os.environ["DOCKER_HOST"] = own_engine.host  # for the stack, and for whatever here looks at the engine
    one = new_stack(
        data_folder,
        SANDBOX="docker",
        SANDBOX_IMAGE=f"runyard/runner-{{runner}}:{images}",
        SANDBOX_ENGINE_SECONDS=str(ENGINE_SECONDS),
        RECONCILE_SECONDS="1",
    )
    try:
        one.up()
        yield one
        one.down()
    finally:
        if before is None:
            del os.environ["DOCKER_HOST"]
        else:
            os.environ["DOCKER_HOST"] = before


@asynccontextmanager
async def away(engine: OwnEngine, number: signal.Signals = signal.SIGTERM) -> AsyncGenerator[None]:
    """The engine is gone for as long as this lasts."""
    await asyncio.to_thread(engine.stop, number)
    try:
        yield
    finally:
        await asyncio.to_thread(engine.start)


@pytest.mark.parametrize("agent", ["codex", "claude"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_a_run_outlives_its_engine(
    own_engine: OwnEngine,
    stack: "Stack",
    api: "Api",
    engine: "Engine",
    repository: Path,
    agent: str,
    number: signal.Signals,
    sandbox_events: Callable[..., Any],
) -> None:
    session = await api.session(await api.import_repository(repository), agent)
    run = await api.prompt(session, LONG)
    await api.until(run, "ui.message.assistant.delta")

    async with away(own_engine, number):
        pass
    events = await api.events(run)

    assert ends(events) == ["run.completed"]
    # Killed, it leaves its containers at work until the next one ends them; either way the run is taken up again.
    assert [one.type for one in events if one.type in {"run.started", "run.resumed"}][:2] == [
        "run.started",
        "run.resumed",
    ]
    told = await sandbox_events(stack, session)
    assert {one["payload"]["reason"] for one in told if one["type"] == "sandbox.error"} <= {"exited", "vanished"}
    assert told[-1]["type"] == "sandbox.running"
    assert len(engine.containers()) == 1
    await assert_nothing_is_left(stack, api, engine, session)


async def test_a_prompt_waits_for_an_engine_that_comes_back(
    own_engine: OwnEngine, stack: "Stack", api: "Api", engine: "Engine", repository: Path
) -> None:
    session = await api.session(await api.import_repository(repository), "codex")
    async with away(own_engine):
        run = await api.prompt(session, "[[script: tokens 5]]")
        await api.until(run, "run.dispatched")

    assert ends(await api.events(run)) == ["run.completed"]
    await assert_nothing_is_left(stack, api, engine, session)


async def test_a_prompt_fails_with_the_reason_when_the_engine_stays_away(
    own_engine: OwnEngine,
    stack: "Stack",
    api: "Api",
    engine: "Engine",
    repository: Path,
    sandbox_events: Callable[..., Any],
) -> None:
    session = await api.session(await api.import_repository(repository), "codex")
    async with away(own_engine):
        run = await api.prompt(session, "[[script: tokens 5]]")
        events = await api.events(run)
        assert ends(events) == ["run.error"]
        assert events[-1].payload["reason"] == "sandbox_failed"
        assert re.search("engine (does not answer|has not answered)", events[-1].payload["message"])
        reasons = [
            one["payload"]["reason"] for one in await sandbox_events(stack, session) if one["type"] == "sandbox.error"
        ]
        assert reasons == ["engine_away", "gave_up"]

    again = await api.prompt(session, "[[script: tokens 5]]")
    assert ends(await api.events(again)) == ["run.completed"]
    await assert_nothing_is_left(stack, api, engine, session)


async def test_what_was_deleted_while_the_engine_was_away_is_removed_when_it_is_back(
    own_engine: OwnEngine, stack: "Stack", api: "Api", engine: "Engine", repository: Path
) -> None:
    session = await api.session(await api.import_repository(repository), "codex")
    assert ends(await api.events(await api.prompt(session, "[[script: tokens 5]]"))) == ["run.completed"]
    async with away(own_engine):
        await api.call("DELETE", f"/api/sessions/{session}")

    async with asyncio.timeout(60):
        while engine.containers() or files_of(stack, session):
            await asyncio.sleep(0.2)

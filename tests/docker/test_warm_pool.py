"""Containers that are made before the first prompt."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.docker.remains import assert_nothing_is_left

if TYPE_CHECKING:
    from tests.conftest import Api, Stack
    from tests.docker.conftest import Engine

pytestmark = [pytest.mark.docker, pytest.mark.agents, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def settings() -> dict[str, str]:
    return {"SANDBOX_POOL": "1", "RECONCILE_SECONDS": "1"}


@pytest.mark.parametrize("agent", ["codex", "claude"])
async def test_a_prompt_takes_the_warm_container_and_the_pool_is_filled_again(
    api: "Api",
    stack: "Stack",
    engine: "Engine",
    repository: Path,
    status_of: Callable[..., Any],
    sandbox_events: Callable[..., Any],
    agent: str,
) -> None:
    workspace = await api.import_repository(repository)
    first, second = await api.session(workspace, agent), await api.session(workspace, agent)
    await status_of(first, "running")
    warm = await asyncio.to_thread(identity, engine, first)
    assert await asyncio.to_thread(engine.containers) == [engine.of(first)], "the pool is of one"

    events = await api.events(await api.prompt(first, "[[script: tokens 5]]"))

    assert events[-1].type == "run.completed"
    assert await asyncio.to_thread(identity, engine, first) == warm
    told = await sandbox_events(stack, first)
    assert [one["type"] for one in told] == ["sandbox.requested", "sandbox.creating", "sandbox.running"]
    assert (told[0]["payload"]["purpose"], told[-1]["payload"]["warm"]) == ("pool", True)
    await status_of(second, "running")
    assert engine.containers(running=True) == sorted([engine.of(first), engine.of(second)])
    told = await sandbox_events(stack, second)
    assert told[0]["payload"]["purpose"] == "pool"
    await assert_nothing_is_left(stack, api, engine, first, second)


def identity(engine: "Engine", session: str) -> str:
    return engine.inside(session, "cat", "/etc/hostname")

"""After `down` nothing of an installation runs on the engine, and after the next `up` all goes on where it was."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from tests.runs import LONG

from runyard_stack.layout import Layout
from runyard_stack.state import is_locked

if TYPE_CHECKING:
    from tests.conftest import Api, Seen, Stack
    from tests.docker.conftest import Engine

pytestmark = [pytest.mark.docker, pytest.mark.agents, pytest.mark.timeout(300)]
NOTHING: dict[str, list[str]] = {"containers": [], "networks": [], "volumes": [], "images": []}


@pytest.fixture(scope="module", params=[False, True], ids=["embedded", "processes"])
def stack(
    request: pytest.FixtureRequest, data_folder: Path, new_stack: Callable[..., "Stack"], images: str
) -> Iterator["Stack"]:
    one = new_stack(
        data_folder / str(request.param),
        processes=request.param,
        SANDBOX="docker",
        SANDBOX_IMAGE=f"runyard/runner-{{runner}}:{images}",
        SANDBOX_PREVIEW_IMAGE=f"runyard/preview:{images}",
    )
    one.up()
    yield one
    one.down()


def killed(stack: "Stack") -> None:
    """All of the stack's processes end at once, and none of them can say anything."""
    layout = Layout(stack.home, stack.port_base)
    supervisor = psutil.Process(int(layout.lock.read_text()))
    family = [supervisor, *supervisor.children(recursive=True)]
    for one in family:
        with contextlib.suppress(psutil.NoSuchProcess):  # servers end with the one that started them
            one.kill()
    psutil.wait_procs(family, timeout=20)
    assert not is_locked(layout.lock)


async def preview_of(api: "Api", workspace: str) -> str:
    body = {"workspace_id": workspace, "command": "python3 -m http.server $PORT --bind $HOST"}
    preview = (await api.call("POST", "/api/previews", json=body))["preview_id"]
    await served(api, preview)
    return preview


async def served(api: "Api", preview: str) -> None:
    async with asyncio.timeout(60):
        while (found := await api.call("GET", f"/api/previews/{preview}"))["status"] != "ready":
            assert found["status"] != "failed", found
            await asyncio.sleep(0.1)


def types(events: list["Seen"]) -> list[str]:
    return [one.type for one in events]


def threads(events: list["Seen"]) -> set[str]:
    """The agent's own threads in which runs were begun."""
    return {one.payload["nativeThreadId"] for one in events if one.type == "run.started"} - {None}


@pytest.mark.parametrize("agent", ["codex", "claude"])
@pytest.mark.parametrize("is_killed", [False, True], ids=["asked", "killed"])
async def test_down_leaves_nothing_running_and_up_takes_all_of_it_up_again(
    stack: "Stack",
    api: "Api",
    engine: "Engine",
    repository: Path,
    sandbox_events: Callable[..., Any],
    agent: str,
    *,
    is_killed: bool,
) -> None:
    workspace = await api.import_repository(repository)
    busy, idle = await api.session(workspace, agent), await api.session(workspace, agent)
    first = await api.events(await api.prompt(idle, "[[script: tokens 5]]"))
    preview = await preview_of(api, workspace)
    run = await api.prompt(busy, LONG)
    before = await api.until(run, "ui.message.assistant.delta")
    assert len(engine.containers(running=True)) == 3

    if is_killed:
        await asyncio.to_thread(killed, stack)
        assert len(engine.containers(running=True)) == 3
    await asyncio.to_thread(stack.down)
    assert engine.everything() == NOTHING

    await asyncio.to_thread(stack.up)
    after = await api.events(run, before[-1].id)
    assert types(after)[-1] == "run.completed"
    assert "run.resumed" in types(after)
    for session in (busy, idle):
        told = await sandbox_events(stack, session)
        assert [one["payload"]["reason"] for one in told if one["type"] == "sandbox.stopped"] == ["shutdown"]
        assert not [one["payload"] for one in told if one["type"] == "sandbox.error"]
    for session, earlier in ((busy, before), (idle, first)):
        later = await api.events(await api.prompt(session, "[[script: tokens 5]]"))
        assert types(later)[-1] == "run.completed"
        assert len(threads([*earlier, *later])) == 1, "the thread went on"
    await served(api, preview)
    for session in (busy, idle):
        await api.call("DELETE", f"/api/sessions/{session}")
    await api.call("DELETE", f"/api/previews/{preview}")
    async with asyncio.timeout(30):
        while engine.containers():
            await asyncio.sleep(0.1)

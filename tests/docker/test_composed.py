"""The composed product with containers for sessions: services in containers make containers beside themselves."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
from tests.conftest import ComposedStack
from tests.docker.preview_steps import imported, visitor
from tests.runs import LONG

from runyard_stack.testing import free_base

if TYPE_CHECKING:
    from tests.conftest import Api, Stack

    from .conftest import Engine

pytestmark = [pytest.mark.docker, pytest.mark.agents, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def stack(data_folder: Path, imports_folder: Path, images: str) -> Iterator["Stack"]:
    extra = {
        "SANDBOX": "docker",
        "SANDBOX_IMAGE": f"runyard/runner-{{runner}}:{images}",
        "SANDBOX_PREVIEW_IMAGE": f"runyard/preview:{images}",
        "TAG": images,
        "IMAGES": "keep",
    }
    one = ComposedStack(data_folder, free_base(), extra=extra, imports=imports_folder)
    one.up()
    yield one
    one.down()


@pytest_asyncio.fixture
async def workspace(api: "Api", imports_folder: Path, tmp_path: Path) -> str:
    return await imported(api, imports_folder / tmp_path.name, {"index.html": "<p>hello</p>"})


@pytest.mark.parametrize("agent", ["codex", "claude"])
async def test_a_session_has_a_container_beside_the_services(
    api: "Api", engine: "Engine", workspace: str, agent: str
) -> None:
    session = await api.session(workspace, agent)

    events = await api.events(await api.prompt(session, "Add a NOTES.md that says what this is"))

    assert events[-1].type == "run.completed", events[-1].payload
    assert [one.payload["method"] for one in events if one.type == "run.dispatched"] == ["docker"]
    assert "NOTES.md" in str(await api.call("GET", f"/api/sessions/{session}/diff"))
    name = engine.of(session)
    await api.call("DELETE", f"/api/sessions/{session}")
    async with asyncio.timeout(30):
        while name in engine.containers():
            await asyncio.sleep(0.1)


async def test_a_preview_is_opened_by_the_port_of_this_machine(api: "Api", engine: "Engine", workspace: str) -> None:
    preview = (await api.call("POST", "/api/previews", json={"workspace_id": workspace}))["preview_id"]
    async with asyncio.timeout(60):
        while (found := await api.call("GET", f"/api/previews/{preview}"))["status"] != "ready":
            assert found["status"] != "failed", found
            await asyncio.sleep(0.1)
    assert found["method"] == "docker"
    async with visitor(api, preview) as client:
        assert "hello" in (await client.get("/")).text
    await api.call("DELETE", f"/api/previews/{preview}")
    async with asyncio.timeout(30):
        while engine.containers():
            await asyncio.sleep(0.1)


async def test_down_leaves_nothing_of_the_installation_and_up_goes_on_where_it_was(
    stack: "Stack", api: "Api", engine: "Engine", workspace: str, sandbox_events: Callable[..., Any]
) -> None:
    session = await api.session(workspace, "codex")
    run = await api.prompt(session, LONG)
    before = await api.until(run, "ui.message.assistant.delta")

    await asyncio.to_thread(stack.down)
    assert engine.everything() == {"containers": [], "networks": [], "volumes": [], "images": []}
    await asyncio.to_thread(stack.up)

    after = await api.events(run, before[-1].id)
    assert [one.type for one in after if one.type in ("run.resumed", "run.completed")] == [
        "run.resumed",
        "run.completed",
    ]
    told = await sandbox_events(stack, session)
    assert [one["payload"]["reason"] for one in told if one["type"] == "sandbox.stopped"] == ["shutdown"]
    assert not [one["payload"] for one in told if one["type"] == "sandbox.error"]

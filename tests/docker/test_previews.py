"""Previews in containers of a real engine: built in there, served from there, and gone with everything of theirs."""

import asyncio
import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests import registries

from .preview_steps import BASE, imported, lines_of, visitor

if TYPE_CHECKING:
    from tests.conftest import Api

    from .conftest import Engine

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]
_MANIFEST = {
    "name": "project",
    "private": True,
    "type": "module",
    "scripts": {"dev": "vite"},
    "devDependencies": {"vite": "^6.3.0"},
}
FILES = {
    "package.json": json.dumps(_MANIFEST),
    "index.html": '<!doctype html><p id="app">hello</p><script type="module" src="/main.js"></script>',
    "main.js": "console.log(1)\n",
    ".gitignore": "node_modules\n",
}


@pytest.fixture(scope="module")
def settings() -> dict[str, str]:
    return registries.settings(registries.npm()) | {"SANDBOX_PREVIEW_IMAGE": BASE}


async def _until(api: "Api", preview: str, status: str) -> Any:
    async with asyncio.timeout(200):
        while (found := await api.call("GET", f"/api/previews/{preview}"))["status"] != status:
            assert found["status"] != "failed", f"{found['message']}\n" + "\n".join(found["log_tail"])
            await asyncio.sleep(0.2)
    return found


async def test_a_session_s_project_is_built_served_and_edited_in_a_container(
    api: "Api", engine: "Engine", tmp_path: Path
) -> None:
    session = await api.session(await imported(api, tmp_path, FILES), "codex")
    preview = (await api.call("POST", "/api/previews", json={"session_id": session}))["preview_id"]
    ready = await _until(api, preview, "ready")
    assert (ready["method"], ready["framework"]) == ("docker", "vite")
    assert engine.inside(preview, "id", "-u") != "0"
    assert "VITE" in await lines_of(api, preview)
    async with visitor(api, preview) as client:
        assert "/@vite/client" in (await client.get("/", headers={"Accept": "text/html"})).text
        assert "console.log(1)" in (await client.get("/main.js")).text
        await api.call("PUT", f"/api/sessions/{session}/workspace/files/main.js", content=b"console.log(2)\n")
        async with asyncio.timeout(20):
            while "console.log(2)" not in (await client.get("/main.js")).text:
                await asyncio.sleep(0.1)
        containers = engine.containers()
        await api.call("DELETE", f"/api/sessions/{session}")
        await _until(api, preview, "stopped")
        answer = await client.get("/", headers={"Accept": "text/html"})
        assert "The preview is stopped" in answer.text
    await _gone(engine, containers)


async def test_a_container_that_is_removed_comes_back(api: "Api", engine: "Engine", tmp_path: Path) -> None:
    workspace = await imported(api, tmp_path, {"index.html": "<p>hello</p>"})
    preview = (await api.call("POST", "/api/previews", json={"workspace_id": workspace}))["preview_id"]
    await _until(api, preview, "ready")
    name = engine.of(preview)
    await asyncio.to_thread(subprocess.run, ["docker", "rm", "--force", name], capture_output=True, check=True)
    async with asyncio.timeout(60):
        while (found := await api.call("GET", f"/api/previews/{preview}"))["generation"] != 2:
            await asyncio.sleep(0.1)
    assert found["status"] in ("starting", "ready")
    await _until(api, preview, "ready")
    async with visitor(api, preview) as client:
        assert "hello" in (await client.get("/")).text
    containers = engine.containers()
    await api.call("DELETE", f"/api/previews/{preview}")
    await _gone(engine, containers)


async def _gone(engine: "Engine", names: list[str]) -> None:
    async with asyncio.timeout(30):
        while set(names) & set(engine.containers()):
            await asyncio.sleep(0.1)

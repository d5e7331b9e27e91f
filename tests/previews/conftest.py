"""A browser, and projects that are shown in it."""

import asyncio
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, async_playwright
from tests import registries
from tests.docker.conftest import engine_of

if TYPE_CHECKING:
    from tests.conftest import Api, Stack

    from .projects import Project

FLAGS = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_START_SECONDS = 240


@pytest.fixture(scope="session")
def sandbox(request: pytest.FixtureRequest) -> str:
    """Where projects are shown: `off` beside the services, `docker` in a container each."""
    return str(request.config.getoption("--sandbox"))


@pytest.fixture(scope="session")
def stack(data_folder: Path, new_stack: Callable[..., "Stack"], sandbox: str) -> Iterator["Stack"]:
    image = f"runyard/preview:{os.environ.get('TAG', 'latest')}"
    in_docker = {"SANDBOX_PREVIEW_IMAGE": image, **registries.settings(registries.npm(), *registries.pip())}
    one = new_stack(data_folder, SANDBOX=sandbox, **(in_docker if sandbox == "docker" else {}))
    one.up()
    yield one
    one.down()
    if sandbox == "docker":
        assert not any(engine_of(one).everything().values())


@pytest_asyncio.fixture
async def browser() -> AsyncIterator[Browser]:
    """Headless Chromium of this machine, with a profile of its own."""
    found = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    assert found, "the tests of previews need Chromium: apt-get install chromium, or CHROMIUM=<its path>"
    async with async_playwright() as playwright:
        one = await playwright.chromium.launch(executable_path=found, args=[*FLAGS], chromium_sandbox=False)
        yield one
        await one.close()


@pytest.fixture
def imported(api: "Api", tmp_path: Path) -> Callable[["Project"], Awaitable[str]]:
    """Makes a repository of a project and imports it; the workspace's id."""

    async def make(project: "Project") -> str:
        folder = tmp_path / "repo"
        for name, text in project.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        identity = ["-c", "user.name=Tester", "-c", "user.email=tester@example.com"]
        for arguments in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "first"]):
            await asyncio.to_thread(subprocess.run, ["git", *identity, *arguments], cwd=folder, check=True)
        return await api.import_repository(folder)

    return make


@pytest.fixture
def until(api: "Api") -> Callable[..., Awaitable[Any]]:
    """Asks until a preview has one of these statuses; one that has failed says why."""

    async def wait(preview: str, *statuses: str) -> Any:
        async with asyncio.timeout(_START_SECONDS):
            while True:
                found = await api.call("GET", f"/api/previews/{preview}")
                if found["status"] in statuses:
                    return found
                assert found["status"] != "failed", f"{found['message']}\n" + "\n".join(found["log_tail"])
                await asyncio.sleep(0.2)

    return wait

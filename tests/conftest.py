"""A whole stack for tests that cross services: `--stack embedded` (one process), `--stack processes`."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from runyard_stack.testing import free_base

TERMINAL = {"run.completed", "run.error", "run.cancelled"}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--stack", choices=("embedded", "processes"), default="embedded")


@dataclass
class Stack:
    """A running stack with its own data folder and ports; driven by the `runyard` command as a person would."""

    home: Path
    port_base: int
    processes: bool = False
    extra: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def environment(self) -> dict[str, str]:
        keep = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
        return keep | {"RUNYARD_HOME": str(self.home), "RUNYARD_PORT_BASE": str(self.port_base)} | self.extra

    def run(self, *arguments: str, check: bool = True, timeout: float = 150) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "runyard_stack", *arguments]
        done = subprocess.run(argv, env=self.environment, capture_output=True, text=True, timeout=timeout, check=False)
        assert not check or done.returncode == 0, f"{arguments}: {done.stdout}\n{done.stderr}\n{self.logs()}"
        return done

    def up(self) -> None:
        self.run("up", "--detach", *(["--processes"] if self.processes else []))

    def down(self) -> None:
        self.run("down")

    def token(self) -> str:
        return self.run("token").stdout.strip()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port_base + 1}"

    def logs(self) -> str:
        files = sorted((self.home / "logs").glob("*.log"))
        return "\n".join(f"--- {path.name}\n{path.read_text()[-4000:]}" for path in files)


@pytest.fixture(scope="session")
def new_stack() -> Callable[..., Stack]:
    """Makes further stacks, for tests that need one of their own."""

    def make(home: Path, *, processes: bool = False, **extra: str) -> Stack:
        return Stack(home, free_base(), processes=processes, extra=extra)

    return make


@pytest.fixture(scope="session")
def data_folder() -> Iterator[Path]:
    """A data folder that PostgreSQL's own user can reach, which pytest's folders are not for long."""
    folder = Path(tempfile.mkdtemp(prefix="runyard-stack-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def data_folder_of_module() -> Iterator[Path]:
    """The same, for the tests of one module."""
    folder = Path(tempfile.mkdtemp(prefix="runyard-stack-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def stack(request: pytest.FixtureRequest, data_folder: Path) -> Iterator[Stack]:
    processes = request.config.getoption("--stack") == "processes"
    one = Stack(data_folder, free_base(), processes=processes)
    one.up()
    yield one
    one.down()


@pytest.fixture(scope="session")
def token(stack: Stack) -> str:
    return stack.token()


@dataclass(frozen=True)
class Seen:
    """An event as a client of the stream sees it."""

    id: int
    event: dict[str, Any]

    @property
    def type(self) -> str:
        return self.event["type"]

    @property
    def payload(self) -> Any:
        return self.event["payload"]


class Api:
    """The public API, as little of it as the tests need."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client

    async def call(self, method: str, path: str, **arguments: Any) -> Any:
        answer = await self.client.request(method, path, **arguments)
        assert answer.status_code < 400, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    async def import_repository(self, folder: Path) -> str:
        body = {"source_type": "local", "source_uri": str(folder)}
        return (await self.call("POST", "/api/workspaces/import", json=body))["workspace_id"]

    async def session(self, workspace: str, runner: str, **more: Any) -> str:
        body = {"workspace_id": workspace, "runner_type": runner, **more}
        return (await self.call("POST", "/api/sessions", json=body))["session_id"]

    async def prompt(self, session: str, text: str) -> str:
        return (await self.call("POST", f"/api/sessions/{session}/prompt", json={"prompt": text}))["run_id"]

    async def stream(self, path: str, last_id: int | None = None) -> AsyncIterator[Seen]:
        headers = {"Last-Event-ID": str(last_id)} if last_id is not None else {}
        async with self.client.stream("GET", path, headers=headers) as answer:
            assert answer.status_code == 200, await answer.aread()
            identifier = 0
            async for line in answer.aiter_lines():
                if line.startswith("id: "):
                    identifier = int(line[4:])
                elif line.startswith("data: "):
                    yield Seen(identifier, json.loads(line[6:]))

    async def events(self, run: str, last_id: int | None = None) -> list[Seen]:
        return [one async for one in self.stream(f"/api/runs/{run}/events", last_id)]

    async def until(self, run: str, wanted: str) -> list[Seen]:
        """What the run's stream brings up to the first event of a type."""
        seen: list[Seen] = []
        async for one in self.stream(f"/api/runs/{run}/events"):
            seen.append(one)
            if one.type == wanted:
                return seen
        raise AssertionError(f"{wanted} never came: {[one.type for one in seen]}")


@pytest.fixture(scope="session")
def api_of() -> Callable[[httpx.AsyncClient], Api]:
    """Makes an API of a client with its own address and token."""
    return Api


@pytest_asyncio.fixture
async def api(stack: Stack, token: str) -> AsyncIterator[Api]:
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(base_url=stack.url, headers=headers, timeout=60) as client:
        yield Api(client)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A small Git repository of the user's own."""
    folder = tmp_path / "repo"
    folder.mkdir()
    (folder / "README.md").write_text("# A project\n")
    (folder / "main.py").write_text("print('hello')\n")
    for arguments in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "first"]):
        identity = ["-c", "user.name=Tester", "-c", "user.email=tester@example.com"]
        subprocess.run(["git", *identity, *arguments], cwd=folder, check=True)
    return folder

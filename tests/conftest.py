"""A whole stack for tests that cross services: `--stack embedded` (one process), `processes` or `compose`."""

import contextlib
import ipaddress
import json
import os
import re
import shutil
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from runyard_stack.testing import free_base

ROOT = Path(__file__).parent.parent


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--stack", choices=("embedded", "processes", "compose"), default="embedded")
    parser.addoption("--sandbox", choices=("off", "docker"), default="off", help="where tests/previews shows projects")


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


class LoopbackDoor(socketserver.ThreadingTCPServer):
    """Leads containers, which know this machine by the address of the engine's bridge, to a port of its loopback."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, port: int) -> None:
        form = "{{(index .IPAM.Config 0).Subnet}}"
        argv = ["docker", "network", "inspect", "bridge", "--format", form]
        subnet = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()
        bridge = str(next(ipaddress.ip_network(subnet).hosts()))
        super().__init__((bridge, port), socketserver.BaseRequestHandler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def finish_request(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - the base class names it
        with socket.create_connection(("127.0.0.1", self.server_address[1])) as target:
            back = threading.Thread(target=_pour, args=(target, request), daemon=True)
            back.start()
            _pour(request, target)
            back.join()


def _pour(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while received := source.recv(65536):
            target.sendall(received)
        target.shutdown(socket.SHUT_WR)


@dataclass
class ComposedStack(Stack):
    """The same in containers, by `tools/compose.sh`; what tests have on this machine is made visible in them."""

    imports: Path = Path()
    _following: list[subprocess.Popen[bytes]] = field(default_factory=list[subprocess.Popen[bytes]])
    _doors: list[LoopbackDoor] = field(default_factory=list[LoopbackDoor])

    @property
    def environment(self) -> dict[str, str]:
        inside = {name: value.replace("//127.0.0.1:", "//host.docker.internal:") for name, value in self.extra.items()}
        more = {"RUNYARD_IMPORTS": str(self.imports), "COMPOSE_OVERRIDE": "tests/compose.override.yaml"}
        return super().environment | inside | more

    def compose(self, *arguments: str) -> None:
        argv = ["tools/compose.sh", *arguments]
        done = subprocess.run(argv, cwd=ROOT, env=self.environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{arguments}: {done.stdout}\n{done.stderr}"

    def up(self) -> None:
        ports = {int(port) for value in self.extra.values() for port in re.findall(r"//127\.0\.0\.1:(\d+)", value)}
        self._doors += [LoopbackDoor(port) for port in ports]
        self.compose("up")
        argv = ["tools/compose.sh", "logs", "--follow", "--no-color"]
        with (self.home / "logs" / "compose.log").open("ab") as log:
            following = subprocess.Popen(argv, cwd=ROOT, env=self.environment, stdout=log, stderr=log)
        self._following.append(following)

    def down(self) -> None:
        self.compose("down")
        for one in self._following:
            one.wait(20)
        self._following.clear()
        for door in self._doors:
            door.shutdown()
            door.server_close()
        self._doors.clear()


@pytest.fixture(scope="session")
def new_stack(request: pytest.FixtureRequest, imports_folder: Path) -> Callable[..., Stack]:
    """Makes further stacks, for tests that need one of their own."""

    def make(home: Path, *, processes: bool = False, **extra: str) -> Stack:
        if request.config.getoption("--stack") == "compose":
            return ComposedStack(home, free_base(), extra=extra, imports=imports_folder)
        return Stack(home, free_base(), processes=processes, extra=extra)

    return make


@pytest.fixture(scope="session")
def imports_folder() -> Iterator[Path]:
    """Where a composed stack finds local repositories."""
    folder = Path(tempfile.mkdtemp(prefix="runyard-imports-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


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
def stack(request: pytest.FixtureRequest, data_folder: Path, new_stack: Callable[..., Stack]) -> Iterator[Stack]:
    one = new_stack(data_folder, processes=request.config.getoption("--stack") == "processes")
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
def repository(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A small Git repository of the user's own."""
    composed = request.config.getoption("--stack") == "compose"
    imports: Path | None = request.getfixturevalue("imports_folder") if composed else None
    folder = (imports / tmp_path.name if imports else tmp_path) / "repo"
    folder.mkdir(parents=True)
    (folder / "README.md").write_text("# A project\n")
    (folder / "main.py").write_text("print('hello')\n")
    for arguments in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "first"]):
        identity = ["-c", "user.name=Tester", "-c", "user.email=tester@example.com"]
        subprocess.run(["git", *identity, *arguments], cwd=folder, check=True)
    yield folder
    if imports:
        shutil.rmtree(folder.parent)

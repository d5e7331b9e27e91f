"""A stack of its own for a benchmark: data in a temporary folder, ports nobody uses, everything removed after."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, AsyncIterator, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from runyard_stack.testing import free_base

TERMINAL = {"run.completed", "run.error", "run.cancelled"}
LIFECYCLE = b'"kind":"lifecycle"'


@dataclass
class StackUnderTest:
    """A running stack; `ready_seconds` is how long the warm start took."""

    home: Path
    port_base: int
    ready_seconds: float
    token: str

    @property
    def url(self) -> str:
        """Address of the public API."""
        return f"http://127.0.0.1:{self.port_base + 1}"

    def command(self, *arguments: str) -> str:
        """Runs the `runyard` command on this stack and returns what it printed."""
        return _runyard(self.home, self.port_base, *arguments)


def _runyard(home: Path, port_base: int, *arguments: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
    environment |= {"RUNYARD_HOME": str(home), "RUNYARD_PORT_BASE": str(port_base)}
    argv = [sys.executable, "-m", "runyard_stack", *arguments]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=180, check=False)
    if done.returncode:
        raise RuntimeError(f"runyard {' '.join(arguments)}: {done.stdout}{done.stderr}")
    return done.stdout


@contextlib.contextmanager
def running_stack(*, processes: bool = False) -> Generator[StackUnderTest]:
    """A stack that was started once before, so what is measured is the warm start."""
    with tempfile.TemporaryDirectory(prefix="runyard-bench-", ignore_cleanup_errors=True) as folder:
        home, base = Path(folder), free_base()
        home.chmod(0o755)
        up = ["up", "--detach", *(["--processes"] if processes else [])]
        _runyard(home, base, *up)
        _runyard(home, base, "down")
        began = time.perf_counter()
        _runyard(home, base, *up)
        seconds = time.perf_counter() - began
        try:
            yield StackUnderTest(home, base, seconds, _runyard(home, base, "token").strip())
        finally:
            _runyard(home, base, "down")


@contextlib.contextmanager
def repository() -> Generator[Path]:
    """A small Git repository."""
    with tempfile.TemporaryDirectory(prefix="runyard-repo-") as name:
        folder = Path(name)
        (folder / "README.md").write_text("# A project\n")
        identity = ["-c", "user.name=Bench", "-c", "user.email=bench@example.com"]
        for arguments in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "first"]):
            subprocess.run(["git", *identity, *arguments], cwd=folder, check=True)
        yield folder


class Client:
    """The public API, as a benchmark needs it."""

    def __init__(self, stack: StackUnderTest, http: aiohttp.ClientSession) -> None:
        self._base = stack.url
        self._http = http

    @classmethod
    @contextlib.asynccontextmanager
    async def of(cls, stack: StackUnderTest) -> AsyncGenerator["Client"]:
        """A client with the admin's token."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
        headers = {"Authorization": f"Bearer {stack.token}"}
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(headers=headers, timeout=timeout, connector=connector) as http:
            yield cls(stack, http)

    async def post(self, path: str, body: dict[str, Any]) -> Any:
        """POSTs JSON and returns JSON; anything but success is an error."""
        async with self._http.post(f"{self._base}{path}", json=body) as answer:
            if answer.status >= 400:
                raise RuntimeError(f"{path}: {answer.status} {await answer.text()}")
            return await answer.json()

    async def get(self, path: str) -> Any:
        """GETs JSON."""
        async with self._http.get(f"{self._base}{path}") as answer:
            return await answer.json()

    async def delete(self, path: str) -> None:
        """DELETEs; anything but success is an error."""
        async with self._http.delete(f"{self._base}{path}") as answer:
            if answer.status >= 400:
                raise RuntimeError(f"{path}: {answer.status} {await answer.text()}")

    async def import_repository(self, folder: Path) -> str:
        """Imports a local repository; its workspace id."""
        body = {"source_type": "local", "source_uri": str(folder)}
        return (await self.post("/api/workspaces/import", body))["workspace_id"]

    async def session(self, workspace: str, agent: str) -> str:
        """A new session's id."""
        return (await self.post("/api/sessions", {"workspace_id": workspace, "runner_type": agent}))["session_id"]

    async def prompt(self, session: str, text: str) -> str:
        """Prompts; the run's id."""
        return (await self.post(f"/api/sessions/{session}/prompt", {"prompt": text}))["run_id"]

    async def lines(self, path: str) -> AsyncIterator[bytes]:
        """The data lines of an SSE stream."""
        async with self._http.get(f"{self._base}{path}") as answer:
            if answer.status != 200:
                raise RuntimeError(f"{path}: {answer.status} {await answer.text()}")
            async for line in answer.content:
                if line.startswith(b"data: "):
                    yield line[6:]

    async def end_of(self, run: str) -> str:
        """Follows a run's stream to its end and returns the type of the last event."""
        async for line in self.lines(f"/api/runs/{run}/events"):
            if LIFECYCLE in line and (kind := json.loads(line)["type"]) in TERMINAL:
                return kind
        raise RuntimeError(f"the stream of run {run} closed without an end")


def median(values: list[float]) -> float:
    """The middle value."""
    return sorted(values)[len(values) // 2]


def percentile(values: list[float], share: float) -> float:
    """The value below which `share` (0..1) of the values lie."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]

"""The runner as it is in a container: a process that holds one session's token, its folder, and nothing else."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from nats.aio.client import Client

from runyard_chassis.tokens import SESSION_AUDIENCE, SESSION_KEY, Tokens, derive_key
from runyard_events import CommandBus, EventLog, Scope, Writer, command, connect, new_id
from runyard_events.catalogue import RunCancelRequested, RunDispatched, RunRequested, SandboxRequested
from runyard_events.commands import StartInSandbox
from runyard_events.topology import ensure_sandbox_queue
from runyard_stack.credentials import read_credentials
from runyard_stack.layout import Layout

if TYPE_CHECKING:
    from tests.conftest import Api, Stack

pytestmark = [pytest.mark.agents, pytest.mark.timeout(180)]
MIB = 1024 * 1024
GOALS = {"codex": 200, "claude": 300}
AGENTS = pytest.mark.parametrize("agent", ["codex", "claude"])
AS_IN_THE_IMAGE = """\
import runpy, sys
sys.modules.update(aiohttp=None, rich=None)  # the images of runners do not have them
runpy.run_module("{}", run_name="__main__", alter_sys=True)
"""
LONG = '[[script: {"steps": [{"run": "sleep 30"}, {"say": "done"}]}]]'
LARGE = '[[script: {"steps": [{"run": "seq 1 40000"}, {"say": "done"}]}]]'


@dataclass
class Sandbox:
    """A session as the orchestrator leaves it to a container."""

    stack: "Stack"
    api: "Api"
    client: Client
    tenant: str
    session: dict[str, Any]
    agent: str
    token: str
    home: Path

    @property
    def session_id(self) -> str:
        return self.session["session_id"]

    def writer(self, run: str, source: str = "orchestrator", next_seq: int = 1) -> Writer:
        scope = Scope.run(self.tenant, self.session_id, run)
        return Writer(EventLog(self.client), scope=scope, source=source, next_seq=next_seq)

    async def replace(self) -> None:
        scope = Scope.session(self.tenant, self.session_id)
        writer = Writer(EventLog(self.client), scope=scope, source="orchestrator.sandbox")
        await writer.append(SandboxRequested(epoch=2, method="docker", purpose="recovery"))

    async def start(self, prompt: str) -> str:
        run, session = new_id(), self.session
        writer = self.writer(run)
        asked = RunRequested(prompt=prompt, workspace_id=session["workspace_id"], runner_type=self.agent)
        await writer.append(asked)
        # The orchestrator of this stack has no containers: it leaves alone what is none of its own.
        place = await writer.append(RunDispatched(runner_type=self.agent, method="external"))
        order = StartInSandbox(
            session_id=self.session_id,
            run_id=run,
            workspace_id=session["workspace_id"],
            runner_type=self.agent,
            prompt=prompt,
            thread_id=session["thread_id"],
            working_directory=session["repo_path"],
        )
        await CommandBus(self.client).send(command(order, tenant_id=self.tenant))
        await self.api.call("GET", f"/api/runs/{run}", params={"min_seq": place})
        return run

    @contextmanager
    def runner(self) -> Generator[psutil.Popen]:
        base = self.stack.port_base
        environment = {
            "PATH": os.environ["PATH"],
            "SESSION_ID": self.session_id,
            "SESSION_TOKEN": self.token,
            "MAIN_APP_URL": self.stack.url,
            "WORKSPACE_PATH": self.session["repo_path"],
            "NATS_URL": f"nats://127.0.0.1:{base + 11}",
            "LLM_GATEWAY_URL": f"http://127.0.0.1:{base + 8}",
            "AGENTS_ROOT": str(self.home),
            "CODEX_SANDBOX_TYPE": "danger-full-access",
        }
        argv = [sys.executable, "-c", AS_IN_THE_IMAGE.format(f"runyard_runner_{self.agent}")]
        with (self.home / "runner.log").open("ab") as log:
            process = psutil.Popen(argv, env=environment, stdout=log, stderr=log)
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.wait(15)


@asynccontextmanager
async def sandbox(api: "Api", stack: "Stack", repository: Path, agent: str, home: Path) -> AsyncGenerator[Sandbox]:
    session_id = await api.session(await api.import_repository(repository), agent)
    session = await api.call("GET", f"/api/sessions/{session_id}")
    credentials = read_credentials(Layout(stack.home, stack.port_base).credentials)
    assert credentials is not None
    client = await connect(
        f"nats://127.0.0.1:{stack.port_base + 11}",
        service="stack",
        user="stack",
        password=credentials.nats_passwords["stack"],
    )
    tokens = Tokens(derive_key(credentials.jwt_secret_key, SESSION_KEY), SESSION_AUDIENCE)
    token = tokens.mint(tenant=credentials.tenant_id, session=session_id, epoch=1)
    home.mkdir()
    made = Sandbox(stack, api, client, credentials.tenant_id, session, agent, token, home)
    await ensure_sandbox_queue(client, session_id)
    yield made
    await client.close()


def memory(process: psutil.Popen) -> float:
    """MiB that a process and all that it has started hold, shared pages divided among their users."""
    total = 0
    for one in (process, *process.children(recursive=True)):
        try:
            total += one.memory_full_info().pss
        except psutil.Error:
            continue
    return total / MIB


@AGENTS
async def test_it_works_a_run_off_with_its_token_alone(
    api: "Api", stack: "Stack", repository: Path, agent: str, tmp_path: Path
) -> None:
    async with sandbox(api, stack, repository, agent, tmp_path / "home") as box:
        with box.runner() as process:
            run = await box.start(LARGE)
            most, task = 0.0, asyncio.create_task(api.events(run))
            while not task.done():
                most = max(most, memory(process))
                await asyncio.wait({task}, timeout=0.1)
            events = task.result()
            types = [one.type for one in events]
            assert types[-1] == "run.completed", events[-1].payload
            results = [one.payload for one in events if one.type == "ui.tool.result"]
            whole = [one["outputRef"] for one in results if one.get("outputRef")]
            if agent == "codex":
                content = (await api.client.get(f"/api/outputs/{whole[0]}")).text
                assert "39999" in content, "a large result came by HTTP"
            assert most < GOALS[agent], f"{most:.0f} MiB"
            (tmp_path / "memory").write_text(f"{most:.0f}\n")
        assert process.returncode == 0


@AGENTS
async def test_a_run_that_is_cut_short_is_taken_up_by_the_next_runner(
    api: "Api", stack: "Stack", repository: Path, agent: str, tmp_path: Path
) -> None:
    async with sandbox(api, stack, repository, agent, tmp_path / "home") as box:
        with box.runner() as process:
            run = await box.start(LONG)
            await api.until(run, "ui.tool.call")
            process.send_signal(signal.SIGTERM)
            assert process.wait(15) == 0, (box.home / "runner.log").read_text()[-4000:]
        with box.runner():
            await api.until(run, "run.resumed")
            await box.writer(run, next_seq=3).append(RunCancelRequested(requested_by="ada"))
            events = await api.events(run)
    assert [one.type for one in events if one.type in {"run.started", "run.resumed", "run.cancelled"}] == [
        "run.started",
        "run.resumed",
        "run.cancelled",
    ]


async def test_it_ends_when_another_container_has_taken_its_place(
    api: "Api", stack: "Stack", repository: Path, tmp_path: Path
) -> None:
    async with sandbox(api, stack, repository, "codex", tmp_path / "home") as box:
        await box.replace()
        with box.runner() as process:
            assert await asyncio.to_thread(process.wait, 30) == 77


def test_it_loads_neither_a_web_framework_nor_a_database() -> None:
    for agent in GOALS:
        code = f"import runpy, sys; sys.argv = ['x']; import runyard_runner_{agent}.__main__; print(*sys.modules)"
        loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
        unneeded = {"fastapi", "sqlalchemy", "uvicorn", "starlette", "httpx", "jwt", "cryptography"}
        assert unneeded.isdisjoint(loaded), agent

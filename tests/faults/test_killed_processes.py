"""Any process may die at any point: the log stays whole, every run ends once, no client loses its place."""

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import pytest_asyncio
from tests.runs import TERMINAL, assert_gapless, ends

if TYPE_CHECKING:
    from tests.conftest import Api, Seen, Stack

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]

VICTIMS = ["gateway", "orchestrator", "workspace", "runner-codex", "runner-claude", "llm-gateway", "nats", "postgres"]
PATIENCE_SECONDS = 150


@pytest.fixture(scope="session")
def stack(data_folder: Path, new_stack: Any) -> Iterator["Stack"]:
    one = new_stack(data_folder, processes=True)
    one.up()
    yield one
    one.down()


@pytest_asyncio.fixture
async def api(stack: "Stack", token: str, api_of: Any) -> AsyncIterator["Api"]:
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(base_url=stack.url, headers=headers, timeout=60) as client:
        yield api_of(client)


def pid_of(stack: "Stack", victim: str) -> int:
    if victim == "postgres":
        [pidfile] = (stack.home / "postgres").rglob("postmaster.pid")
    elif victim == "nats":
        pidfile = stack.home / "nats" / "nats.pid"
    else:
        pidfile = stack.home / "run" / f"{victim}.pid"
    return int(pidfile.read_text().split()[0])


async def watch(api: "Api", run: str, seen: list["Seen"], streaming: asyncio.Event) -> None:
    """Reads a run's stream to its end, reconnecting with the last id whenever the connection breaks."""
    while not (seen and seen[-1].type in TERMINAL):
        try:
            async for one in api.stream(f"/api/runs/{run}/events", seen[-1].id if seen else None):
                seen.append(one)
                if sum(event.type == "ui.message.assistant.delta" for event in seen) >= 3:
                    streaming.set()
        except (httpx.TransportError, AssertionError):
            await asyncio.sleep(0.2)


async def patiently(api: "Api", method: str, path: str, **arguments: Any) -> Any:
    """A call that is repeated while the stack comes back."""
    while True:
        try:
            return await api.call(method, path, **arguments)
        except (httpx.TransportError, AssertionError):
            await asyncio.sleep(0.3)


def assert_whole(run: str, seen: list["Seen"]) -> None:
    assert ends(seen) == [seen[-1].type], run
    assert_gapless(seen)


async def start_runs(api: "Api", repository: Path, agents: list[str]) -> list[str]:
    workspace = await api.import_repository(repository)
    sessions = [await api.session(workspace, agent) for agent in agents]
    return [await api.prompt(session, "[[script: tokens 150 delay 25]]") for session in sessions]


@pytest.mark.parametrize("victim", VICTIMS)
async def test_after_sigkill_of_one_process_every_run_ends_once_and_no_client_misses_an_event(
    stack: "Stack", api: "Api", repository: Path, victim: str
) -> None:
    runs = await start_runs(api, repository, ["codex", "claude", "codex", "claude"])
    seen: dict[str, list[Seen]] = {run: [] for run in runs}
    streaming = {run: asyncio.Event() for run in runs}
    watchers = [asyncio.create_task(watch(api, run, seen[run], streaming[run])) for run in runs]
    async with asyncio.timeout(60):
        await asyncio.gather(*(event.wait() for event in streaming.values()))

    os.kill(pid_of(stack, victim), signal.SIGKILL)

    async with asyncio.timeout(PATIENCE_SECONDS):
        await asyncio.gather(*watchers)
    for run in runs:
        assert_whole(run, seen[run])
        whole = await api.events(run)
        assert [(one.id, one.event) for one in seen[run]] == [(one.id, one.event) for one in whole]
    last = {run: seen[run][-1].type for run in runs}
    assert set(last.values()) == {"run.completed"}, last
    ends_at = {run: {"min_seq": seen[run][-1].id} for run in runs}
    statuses = [(await patiently(api, "GET", f"/api/runs/{run}", params=ends_at[run]))["status"] for run in runs]
    assert statuses == ["completed"] * len(runs)


async def test_after_sigkill_of_the_whole_stack_runs_go_on_at_the_next_start(
    stack: "Stack", api: "Api", repository: Path
) -> None:
    runs = await start_runs(api, repository, ["codex", "claude"])
    seen: dict[str, list[Seen]] = {run: [] for run in runs}
    streaming = {run: asyncio.Event() for run in runs}
    watchers = [asyncio.create_task(watch(api, run, seen[run], streaming[run])) for run in runs]
    async with asyncio.timeout(60):
        await asyncio.gather(*(event.wait() for event in streaming.values()))

    for victim in VICTIMS:
        os.kill(pid_of(stack, victim), signal.SIGKILL)
    supervisor = int((stack.home / "lock").read_text()) if (stack.home / "lock").exists() else None
    if supervisor:
        os.kill(supervisor, signal.SIGKILL)
    await asyncio.to_thread(stack.up)

    async with asyncio.timeout(PATIENCE_SECONDS):
        await asyncio.gather(*watchers)
    for run in runs:
        assert_whole(run, seen[run])
        assert seen[run][-1].type == "run.completed"


async def test_an_open_approval_survives_the_restart_of_every_service(
    stack: "Stack", api: "Api", repository: Path, tmp_path: Path
) -> None:
    workspace = await api.import_repository(repository)
    target = Path(f"/var/tmp/runyard-approval-{tmp_path.name}")
    script = f'{{"steps": [{{"run": "touch {target}", "escalate": "outside"}}, {{"say": "done"}}]}}'
    runs: dict[str, str] = {}
    for agent in ("codex", "claude"):
        session = await api.session(workspace, agent, approval_policy="on-request")
        run = await api.prompt(session, f"[[script: {script}]]")
        runs[run] = (await api.until(run, "ui.approval.requested"))[-1].payload["approvalId"]

    for victim in ("gateway", "orchestrator", "runner-codex", "runner-claude"):
        os.kill(pid_of(stack, victim), signal.SIGKILL)

    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            for run, approval in runs.items():
                path = f"/api/runs/{run}/approvals/{approval}"
                await patiently(api, "POST", path, json={"decision": "accept"})
            for run, approval in runs.items():
                events: list[Seen] = []
                await watch(api, run, events, asyncio.Event())
                assert_whole(run, events)
                assert events[-1].type == "run.completed"
                asked = [one.payload["approvalId"] for one in events if one.type == "ui.approval.requested"]
                assert asked == [approval], "the question is asked once"
        assert target.exists()
    finally:
        target.unlink(missing_ok=True)


async def test_nothing_is_left_running_when_the_stack_is_down(stack: "Stack", api: "Api", repository: Path) -> None:
    workspace = await api.import_repository(repository)
    session = await api.session(workspace, "codex")
    run = await api.prompt(session, '[[script: {"steps": [{"run": "sleep 5151"}, {"say": "x"}]}]]')
    await api.until(run, "ui.tool.call")

    await asyncio.to_thread(stack.down)

    left = subprocess.run(["pgrep", "-af", f"sleep 5151|{stack.home}"], capture_output=True, text=True, check=False)
    assert [line for line in left.stdout.splitlines() if "pgrep" not in line and "pytest" not in line] == []
    await asyncio.to_thread(stack.up)

"""Both real agents in containers of a real engine, through the public API."""

import asyncio
import json
import subprocess
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.runs import ends, payloads

if TYPE_CHECKING:
    from tests.conftest import Api, Seen, Stack
    from tests.docker.conftest import Engine

pytestmark = [pytest.mark.docker, pytest.mark.agents, pytest.mark.timeout(240)]
AGENTS = pytest.mark.parametrize("agent", ["codex", "claude"])


@pytest.fixture(scope="module")
def settings() -> dict[str, str]:
    return {"SANDBOX_IDLE_SECONDS": "12", "RECONCILE_SECONDS": "1"}


def assert_one_end(events: list["Seen"], wanted: str = "run.completed") -> None:
    errors = [one.event for one in events if one.type in {"ui.error", "run.error", "ui.run.error"}]
    assert ends(events) == [wanted], errors
    assert events[-1].type == wanted
    by_source: dict[str, list[int]] = defaultdict(list)
    for one in events:
        by_source[one.event["source"]].append(one.event["seq"])
    assert all(numbers == list(range(1, len(numbers) + 1)) for numbers in by_source.values())


@AGENTS
async def test_a_prompt_is_worked_on_in_the_sessions_own_container(
    stack: "Stack", api: "Api", engine: "Engine", repository: Path, agent: str, sandbox_events: Callable[..., Any]
) -> None:
    session = await api.session(await api.import_repository(repository), agent)
    run = await api.prompt(session, "List the files and add a NOTES.md that says what this is")

    events = await api.events(run)

    assert_one_end(events)
    assert [one["method"] for one in payloads(events, "run.dispatched")] == ["docker"]
    assert engine.of(session) == f"runyard-{session[:8]}-1"
    assert "NOTES.md" in str(await api.call("GET", f"/api/sessions/{session}/diff"))
    assert not (repository / "NOTES.md").exists(), "the user's own copy is not touched"
    types = [one["type"] for one in await sandbox_events(stack, session)]
    assert types == ["sandbox.requested", "sandbox.creating", "sandbox.running"]
    status = await api.call("GET", f"/api/sessions/{session}/container/status")
    assert (status["status"], status["container_type"], status["metadata"]["method"]) == ("running", "agent", "docker")


@AGENTS
async def test_the_agent_in_the_container_commits_and_the_branch_has_it(
    api: "Api", repository: Path, agent: str
) -> None:
    session = await api.session(await api.import_repository(repository), agent)
    commit = "git -c user.name=A -c user.email=a@example.com commit -qam mine"
    steps = [{"run": f"echo more >> README.md && {commit} && git log --oneline | wc -l"}, {"say": "done"}]
    run = await api.prompt(session, f"[[script: {json.dumps({'steps': steps})}]]")

    events = await api.events(run)

    assert_one_end(events)
    outputs = "".join(str(one["output"]) for one in payloads(events, "ui.tool.result"))
    assert "fatal" not in outputs
    assert "more" in str(await api.call("GET", f"/api/sessions/{session}/diff"))


@AGENTS
async def test_a_cancelled_run_ends_in_the_container_too(
    api: "Api", engine: "Engine", repository: Path, agent: str
) -> None:
    session = await api.session(await api.import_repository(repository), agent)
    steps = [{"run": "echo started; sleep 4711"}, {"say": "never"}]
    run = await api.prompt(session, f"[[script: {json.dumps({'steps': steps})}]]")
    await api.until(run, "ui.tool.call")

    await api.call("POST", f"/api/runs/{run}/cancel")

    assert_one_end(await api.events(run), "run.cancelled")
    async with asyncio.timeout(10):
        while "sleep 4711" in docker_top(engine, session):
            await asyncio.sleep(0.1)
    again = await api.prompt(session, "[[script: tokens 5]]")
    assert_one_end(await api.events(again))


def docker_top(engine: "Engine", session: str) -> str:
    argv = ["docker", "top", engine.of(session)]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


@AGENTS
async def test_an_idle_container_stops_and_the_next_prompt_starts_it_with_the_thread_resumed(
    stack: "Stack",
    api: "Api",
    engine: "Engine",
    repository: Path,
    agent: str,
    status_of: Callable[..., Any],
    sandbox_events: Callable[..., Any],
) -> None:
    session = await api.session(await api.import_repository(repository), agent)
    first = await api.events(await api.prompt(session, "[[script: tokens 5]]"))
    assert_one_end(first)

    await status_of(session, "stopped", 60)
    async with asyncio.timeout(20):
        while engine.of_any(session) in engine.containers(running=True):
            await asyncio.sleep(0.1)
    second = await api.events(await api.prompt(session, "[[script: tokens 5]]"))

    assert_one_end(second)
    threads = {one["nativeThreadId"] for run in (first, second) for one in payloads(run, "run.started")}
    assert len(threads - {None}) == 1, "the thread went on"
    stops = [
        one["payload"]["reason"] for one in await sandbox_events(stack, session) if one["type"] == "sandbox.stopped"
    ]
    assert stops == ["idle"]
    assert engine.of(session)


async def test_a_deleted_session_leaves_nothing(stack: "Stack", api: "Api", engine: "Engine", repository: Path) -> None:
    session = await api.session(await api.import_repository(repository), "codex")
    assert_one_end(await api.events(await api.prompt(session, "[[script: tokens 5]]")))
    name = engine.of(session)

    await api.call("DELETE", f"/api/sessions/{session}")

    async with asyncio.timeout(30):
        while name in engine.containers() or list((stack.home / "workspaces").glob(f"*/worktrees/{session}")):
            await asyncio.sleep(0.1)
    async with asyncio.timeout(30):
        while list((stack.home / "agents").glob(f"*/sandbox/{session}")):
            await asyncio.sleep(0.1)
    owners = subprocess.run(
        ["docker", "ps", "--all", "--quiet", "--filter", f"label=runyard.owner={session}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert owners.stdout == ""

"""What a person does with a session's container through the public API, on a real engine."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from websockets.asyncio.client import ClientConnection, connect

from runyard_stack.credentials import read_credentials

from .conftest import docker

if TYPE_CHECKING:
    from tests.conftest import Api, Stack
    from tests.docker.conftest import Engine

pytestmark = [pytest.mark.docker, pytest.mark.agents, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def settings() -> dict[str, str]:
    return {"RECONCILE_SECONDS": "1", "SANDBOX_DISK_SECONDS": "1"}


@pytest.fixture(scope="module")
def team(stack: "Stack") -> str:
    credentials = read_credentials(stack.home / "secrets.json")
    assert credentials is not None
    return credentials.tenant_id


@asynccontextmanager
async def listening(stack: "Stack", token: str, team: str) -> AsyncGenerator[ClientConnection]:
    """The team's stream from now on."""
    address = f"{stack.url.replace('http', 'ws', 1)}/ws/teams/{team}?token={token}"
    async with connect(address, max_size=None) as socket:
        yield socket


async def heard(socket: ClientConnection, last: str) -> list[dict[str, Any]]:
    """What the team is told up to an event of this type."""
    found: list[dict[str, Any]] = []
    async with asyncio.timeout(90):
        while not found or found[-1]["event"]["type"] != last:
            message = json.loads(await socket.recv())
            if message["type"] != "ping":
                found.append(message)
    return found


def task(team: str, repository: Path) -> dict[str, str]:
    words = "[[script: tokens 5]]"
    return {"task": words, "agentType": "codex", "repositoryUrl": str(repository), "teamId": team}


async def test_an_agent_is_set_to_work_and_its_container_looked_at_and_controlled(
    stack: "Stack",
    api: "Api",
    engine: "Engine",
    repository: Path,
    team: str,
    token: str,
    status_of: Callable[..., Any],
) -> None:
    async with listening(stack, token, team) as socket:
        spawned = await api.call("POST", "/api/agents/spawn", json=task(team, repository))
        told = await heard(socket, "run.completed")
    session = spawned["session_id"]
    assert (spawned["success"], spawned["method"]) == (True, "docker")
    assert {one["session_id"] for one in told} == {session}
    states = [(one["of"], one["status"]) for one in told if one["type"] == "agent-status"]
    assert ("container", "running") in states
    assert states[-1] == ("run", "completed")
    assert any(one["type"] == "agent-output" for one in told)

    path = f"/api/sessions/{session}/container"
    usage = await api.call("GET", f"{path}/stats")
    assert usage["memory_bytes"] > 0
    assert usage["memory_limit_bytes"] == 2 * 1024**3
    async with api.client.stream("GET", f"{path}/stats", params={"follow": "true"}) as stream:
        measures = [line async for line in taken(stream.aiter_lines(), "data: ", 2)]
    assert all(json.loads(one.removeprefix("data: "))["processes"] > 0 for one in measures)
    printed = await api.call("GET", f"{path}/logs", params={"tail": 5})
    assert any("session.ready" in line["text"] for line in printed["lines"])

    for action, status, state in (
        ("pause", "paused", "paused"),
        ("start", "running", "running"),
        ("stop", "stopped", "exited"),
    ):
        await api.call("POST", f"{path}/{action}")
        await status_of(session, status)
        await engine_says(engine, session, state)
    again = await api.events(await api.prompt(session, "[[script: tokens 5]]"))
    assert again[-1].type == "run.completed"
    (listed,) = [one for one in (await api.call("GET", "/api/sessions"))["items"] if one["session_id"] == session]
    assert listed["container_status"] == "running"
    containers = (await api.call("GET", f"/api/teams/{team}/containers", params={"status": "running"}))["items"]
    assert session in {one["id"] for one in containers}

    assert (await api.client.delete(path)).status_code == 204
    await engine_says(engine, session, "")
    assert (await api.call("GET", f"{path}/status"))["status"] == "deleted"


async def test_what_a_session_takes_of_the_disk_is_told_by_the_api_and_as_events(
    stack: "Stack", api: "Api", engine: "Engine", repository: Path, team: str, sandbox_events: Callable[..., Any]
) -> None:
    spawned = await api.call("POST", "/api/agents/spawn", json=task(team, repository))
    session = spawned["session_id"]
    assert (await api.events(spawned["run_id"]))[-1].type == "run.completed"
    path = f"/api/sessions/{session}/container"
    before = (await api.call("GET", f"{path}/stats"))["disk_bytes"]
    assert 0 < before < 20_000_000
    engine.inside(session, "sh", "-c", 'dd if=/dev/urandom of="$WORKSPACE_PATH/large" bs=1M count=60')
    async with asyncio.timeout(60):
        while (await api.call("GET", f"{path}/stats"))["disk_bytes"] - before < 60 * 1024**2:
            await asyncio.sleep(0.2)
    await api.call("POST", f"{path}/stop")
    async with asyncio.timeout(30):
        told: list[dict[str, Any]] = []
        while not told or told[-1]["memoryBytes"]:
            events = await sandbox_events(stack, session, "telemetry")
            told = [one["payload"] for one in events if one["type"] == "sandbox.stats"]
            await asyncio.sleep(0.2)
    assert before - 1_000_000 < told[0]["diskBytes"] < before + 60 * 1024**2
    # What is left when it has ended.
    assert told[-1]["diskBytes"] - before >= 60 * 1024**2


async def test_switching_a_team_off_takes_effect_at_the_next_run(api: "Api", repository: Path, team: str) -> None:
    rules = f"/api/teams/{team}/sandbox-rules"
    await api.call("PUT", rules, json={"enabled": False})
    try:
        spawned = await api.call("POST", "/api/agents/spawn", json=task(team, repository))
        assert (spawned["success"], spawned["method"]) == (True, "process")
        assert (await api.events(spawned["run_id"]))[-1].type == "run.completed"
        refused = await api.client.post(f"/api/sessions/{spawned['session_id']}/container/create")
        assert (refused.status_code, refused.json()["type"]) == (409, "sandboxes-off")
    finally:
        await api.call("PUT", rules, json={})


async def test_a_team_s_choice_of_a_runtime_holds_from_the_next_run_on_and_the_thread_goes_on(
    stack: "Stack", api: "Api", engine: "Engine", repository: Path, team: str, sandbox_events: Callable[..., Any]
) -> None:
    spawned = await api.call("POST", "/api/agents/spawn", json=task(team, repository))
    session, rules = spawned["session_id"], f"/api/teams/{team}/sandbox-rules"
    first = await api.events(spawned["run_id"])
    before = engine.of(session)
    await api.call("PUT", rules, json={"runtime": "runc"})
    try:
        second = await api.events(await api.prompt(session, "[[script: tokens 5]]"))
    finally:
        await api.call("PUT", rules, json={})

    assert (first[-1].type, second[-1].type) == ("run.completed", "run.completed")
    assert "run.resumed" not in [one.type for one in second], "it began in the new one"
    told = await sandbox_events(stack, session)
    made = [one["payload"] for one in told if one["type"] == "sandbox.creating"]
    assert [(one["name"], one["runtime"]) for one in made][:2] == [(before, None), (f"{before[:-1]}2", "runc")]
    assert "rules_changed" in [one["payload"]["reason"] for one in told if one["type"] == "sandbox.stopped"]
    threads = {one.payload["nativeThreadId"] for one in (*first, *second) if one.type == "run.started"}
    assert len(threads - {None}) == 1


async def taken(lines: Any, beginning: str, count: int) -> AsyncGenerator[str]:
    """So many of the lines that begin like this."""
    async for line in lines:
        if line.startswith(beginning):
            yield line
            count -= 1
        if not count:
            return


async def engine_says(engine: "Engine", session: str, state: str) -> None:
    """Waits until the engine has the session's container in a state; the empty one: not at all."""
    owner = f"label=runyard.owner={session}"
    async with asyncio.timeout(30):
        while docker("ps", "--all", "--filter", owner, "--format", "{{.State}}") != state:
            await asyncio.sleep(0.2)

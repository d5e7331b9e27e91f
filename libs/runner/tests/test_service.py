"""The whole service with a stub agent: its queue, its stop, and its own HTTP contract."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from nats.aio.client import Client

from runyard_chassis import Tokens, serve
from runyard_events.commands import CommandBus, Reply, decode_command
from runyard_events.topology import COMMANDS
from runyard_runner.service import build_runner
from runyard_runner.settings import RunnerSettings
from runyard_runner.testbench import KEY, Bench, MakeBench, stub
from runyard_runner.testing import Hang, Say, StubAgent
from runyard_stack.embedded.ports import free_port

JWT = "j" * 40


@pytest.fixture
def settings(tmp_path: Path, nats_url: str) -> RunnerSettings:
    (tmp_path / "workspaces").mkdir(exist_ok=True)
    return RunnerSettings.model_validate(
        {
            "nats_url": nats_url,
            "workspaces_root": tmp_path / "workspaces",
            "agents_root": tmp_path / "agents",
            "run_token_key": KEY,
            "jwt_secret_key": JWT,
            "port": free_port(),
            "runner_slots": 4,
        }
    )


@asynccontextmanager
async def running(settings: RunnerSettings, agent: StubAgent) -> AsyncGenerator[httpx.AsyncClient]:
    service = build_runner("runner-codex", "codex", settings, agent)
    stop, ready = asyncio.Event(), asyncio.Event()
    task = asyncio.create_task(serve(service, stop, on_ready=ready.set))
    try:
        await asyncio.wait({asyncio.create_task(ready.wait()), task}, return_when=asyncio.FIRST_COMPLETED)
        async with httpx.AsyncClient(base_url=service.url) as client:
            yield client
    finally:
        stop.set()
        await task


async def queued(made: Bench, **changes: Any) -> str:
    """A run whose start command is in the queue."""
    order = await made.request(runner_type="codex", **changes)
    await CommandBus(made.client).send(order)
    return order.payload.run_id


async def waiting(client: Client) -> int:
    """Commands that nobody has finished."""
    info = await client.jetstream().stream_info(COMMANDS)
    return info.state.messages


async def test_commands_from_the_queue_are_run_as_many_as_there_are_slots(
    bench: MakeBench, settings: RunnerSettings
) -> None:
    made = await bench()
    runs = [await queued(made) for _ in range(12)]
    async with running(settings, StubAgent(lambda _: [Say(20, 0.001)])) as http:
        for run_id in runs:
            await made.until(run_id, lambda event: event.type == "run.completed")
        assert (await http.get("/health")).json() == {"status": "ok"}
        assert (await http.get("/ready")).json()["checks"] == {"nats": "ok", "intake": "ok"}
    assert await waiting(made.client) == 0


async def test_a_stopped_runner_gives_its_runs_back_at_once(bench: MakeBench, settings: RunnerSettings) -> None:
    made = await bench()
    run_id = await queued(made)
    async with running(settings, StubAgent(lambda _: [Say(1), Hang()])):
        await made.until(run_id, lambda event: event.type == "ui.message.assistant.final")
    assert await waiting(made.client) == 1
    again = settings.model_copy(update={"port": free_port()})
    async with asyncio.timeout(20), running(again, StubAgent()):
        await made.until(run_id, lambda event: event.type == "run.completed")
    events = await made.events(run_id)
    assert [event.type for event in events].count("run.resumed") == 1


async def test_what_is_no_command_is_not_tried_for_ever(bench: MakeBench, settings: RunnerSettings) -> None:
    made = await bench()
    await made.client.jetstream().publish("cmd.runner.codex.start", b"not json")
    run_id = await queued(made)
    async with running(settings, StubAgent()):
        await made.until(run_id, lambda event: event.type == "run.completed")
    assert await waiting(made.client) == 0


async def orchestrator(client: Client, seen: list[Any]) -> None:
    """Answers what the runner's own routes ask of the orchestrator."""
    subscription = await client.jetstream().pull_subscribe_bind(durable="orchestrator", stream=COMMANDS)
    while True:
        (message,) = await subscription.fetch(1, timeout=30)
        one = decode_command(message.data)
        seen.append(one)
        await CommandBus(client).reply(one, Reply(ok=True))
        await message.ack()


async def test_a_thread_is_a_session_and_its_runs_are_requested_of_the_orchestrator(
    bench: MakeBench, settings: RunnerSettings
) -> None:
    made = await bench()
    workspace = str(uuid4())
    (settings.workspaces_root / workspace / "repo").mkdir(parents=True)
    token = Tokens(JWT).mint(tenant=made.tenant, user="u1")
    seen: list[Any] = []
    answering = asyncio.create_task(orchestrator(made.client, seen))
    async with running(settings, stub(made)) as http:
        http.headers["Authorization"] = f"Bearer {token}"
        directory = str(settings.workspaces_root / workspace / "repo")
        answer = await http.post("/threads", json={"workingDirectory": directory, "skipGitRepoCheck": True})
        thread = answer.json()["threadId"]
        answer = await http.post("/runs", json={"threadId": thread, "prompt": "hi"})
        run = answer.json()["runId"]
    answering.cancel()
    create, request = seen
    assert (create.tenant_id, create.actor, create.payload.workspace_id) == (made.tenant, "u1", workspace)
    assert create.payload.session_id == thread
    assert (request.payload.session_id, request.payload.run_id, request.payload.prompt) == (thread, run, "hi")


async def test_a_directory_outside_the_workspaces_is_refused(bench: MakeBench, settings: RunnerSettings) -> None:
    made = await bench()
    link = settings.workspaces_root / str(uuid4())
    link.symlink_to("/etc")
    token = Tokens(JWT).mint(tenant=made.tenant, user="u1")
    async with running(settings, stub(made)) as http:
        body = {"workingDirectory": "", "skipGitRepoCheck": True}
        refused = await http.post("/threads", json=body)
        assert refused.status_code == 401
        http.headers["Authorization"] = f"Bearer {token}"
        for directory in ("/etc", str(link), str(settings.workspaces_root), f"{settings.workspaces_root}/../x"):
            refused = await http.post("/threads", json={**body, "workingDirectory": directory})
            assert refused.status_code == 422
            assert refused.json()["type"] == "working-directory-refused"


async def test_events_of_a_run_stream_until_its_end_and_to_its_tenant_only(
    bench: MakeBench, settings: RunnerSettings
) -> None:
    made = await bench()
    run_id = await queued(made)
    token = Tokens(JWT).mint(tenant=made.tenant, user="u1")
    stranger = Tokens(JWT).mint(tenant=str(uuid4()), user="u1")
    async with running(settings, StubAgent(lambda _: [Say(5, 0.01)])) as http:
        await made.until(run_id, lambda event: event.type == "run.started")
        other = await http.get(f"/runs/{run_id}/events", headers={"Authorization": f"Bearer {stranger}"})
        assert other.status_code == 404
        answer = await http.get(f"/runs/{run_id}/events", headers={"Authorization": f"Bearer {token}"})
    assert answer.text.startswith(": connected\n\n")
    assert answer.headers["cache-control"] == "no-cache, no-transform"
    frames = [part for part in answer.text.split("\n\n") if part.startswith("id: ")]
    events = await made.events(run_id)
    assert len(frames) == len(events)
    assert '"type":"run.completed"' in frames[-1]


async def test_a_stream_without_events_says_that_it_is_alive(bench: MakeBench, settings: RunnerSettings) -> None:
    made = await bench()
    run_id = await queued(made)
    token = Tokens(JWT).mint(tenant=made.tenant, user="u1")
    quick = settings.model_copy(update={"stream_heartbeat_seconds": 0.02})
    async with running(quick, StubAgent(lambda _: [Hang()])) as http:
        await made.until(run_id, lambda event: event.type == "run.started")
        http.headers["Authorization"] = f"Bearer {token}"
        async with http.stream("GET", f"/runs/{run_id}/events") as answer:
            lines = [line async for line in _until(answer, ": heartbeat")]
    assert lines[0] == ": connected"


async def _until(answer: httpx.Response, wanted: str) -> AsyncGenerator[str]:
    async for line in answer.aiter_lines():
        yield line
        if line == wanted:
            return

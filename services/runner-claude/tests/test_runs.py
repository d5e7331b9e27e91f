"""Runs of the real Claude in the real log: what the run loop makes of what Claude says."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from nats.aio.client import Client

from runyard_events.catalogue import RunApprovalResolved, RunCancelRequested, RunSteerRequested
from runyard_events.envelope import Envelope
from runyard_runner.attempt import take
from runyard_runner.processes import start_time
from runyard_runner.testbench import KEY, Bench, make_bench
from runyard_runner_claude.adapters.agent import ClaudeAgent
from runyard_runner_claude.settings import Settings

pytestmark = [pytest.mark.agents, pytest.mark.timeout(60)]

THREAD = "00000000-0000-4000-8000-00000000c1a0"
LONG = "import os, time; open('pid', 'w').write(str(os.getpid())); time.sleep(120)"
MakeBench = Callable[[], Awaitable[Bench]]


def script(*steps: dict[str, Any]) -> str:
    return f"Please go. [[script: {json.dumps({'steps': steps})}]]"


@pytest_asyncio.fixture
async def settings(tmp_path: Path, model_url: str) -> Settings:
    return Settings.model_validate(
        {
            "workspaces_root": tmp_path / "workspaces",
            "agents_root": tmp_path / "agents",
            "run_token_key": KEY,
            "llm_gateway_url": model_url,
            "model": "claude-scripted",
        }
    )


@pytest_asyncio.fixture
async def bench(nats_client: Client, tenant: str, settings: Settings) -> AsyncIterator[Bench]:
    agent = ClaudeAgent(settings.agents_root, model=settings.model)
    made = await make_bench(nats_client, agent, settings, tenant=tenant, service="runner-claude")
    yield made
    await agent.close()


def types(events: list[Envelope]) -> list[str]:
    return [event.type for event in events]


def contents(events: list[Envelope], type_: str) -> list[dict[str, Any]]:
    return [event.model_dump(mode="json")["payload"] for event in events if event.type == type_]


def is_(type_: str) -> Callable[[Envelope], bool]:
    return lambda event: event.type == type_


async def pid_in(folder: Path) -> int:
    path = folder / "pid"
    while not path.exists() or not path.read_text():  # noqa: ASYNC110 - a file announces nothing
        await asyncio.sleep(0.01)
    return int(path.read_text())


async def test_a_run_streams_and_completes(bench: Bench) -> None:
    events = await bench.run(script({"say": "Hello."}, {"run": "ls"}, {"say": "All done."}), thread_id=THREAD)
    assert types(events)[-2:] == ["ui.run.completed", "run.completed"]
    (bound,) = contents(events, "run.thread_bound")
    assert bound == {"nativeThreadId": THREAD}
    assert contents(events, "run.completed")[0]["finalText"] == "All done."
    deltas = "".join(each["textDelta"] for each in contents(events, "ui.message.assistant.delta"))
    assert deltas == "Hello.All done."
    assert {event.provider for event in events if event.source.startswith("runner-claude")} == {"claude"}


async def test_a_runs_numbers_have_no_gap(bench: Bench) -> None:
    events = await bench.run("[[script: everything]]", thread_id=THREAD)
    numbers = [event.seq for event in events if event.source == "runner-claude.1"]
    assert numbers == list(range(1, len(numbers) + 1))


async def test_an_approval_is_answered_through_the_log(bench: Bench) -> None:
    order = await bench.request(
        script({"run": "touch yes"}, {"say": "Done."}), thread_id=THREAD, approval_policy="on-request"
    )
    run = order.payload.run_id
    running = asyncio.create_task(take(bench.desk, order))
    asked = (await bench.until(run, is_("run.approval_requested"))).model_dump(mode="json")["payload"]
    assert (asked["askKind"], asked["title"]) == ("command", "touch yes")
    await bench.orchestrate(run, RunApprovalResolved(approval_id=asked["approvalId"], decision="accept"))
    await running
    assert (bench.folder / "yes").exists()
    assert types(await bench.events(run))[-1] == "run.completed"


async def test_a_cancel_in_the_middle_of_a_command_leaves_nothing_running_and_nothing_open(bench: Bench) -> None:
    order = await bench.request(script({"run": f'setsid python3 -c "{LONG}" & wait'}), thread_id=THREAD)
    run = order.payload.run_id
    running = asyncio.create_task(take(bench.desk, order))
    pid = await pid_in(bench.folder)
    await bench.orchestrate(run, RunCancelRequested(requested_by="user-1"))
    await running
    events = await bench.events(run)
    assert types(events)[-2:] == ["ui.run.cancelled", "run.cancelled"]
    assert [each["status"] for each in contents(events, "ui.tool.result")] == ["interrupted"]
    assert start_time(pid) is None


async def test_words_reach_a_running_turn_through_the_log(bench: Bench) -> None:
    steps = ({"run": "echo 1 > pid; while [ ! -e go ]; do sleep 0.05; done"}, {"say": "Done."})
    order = await bench.request(script(*steps), thread_id=THREAD)
    run = order.payload.run_id
    running = asyncio.create_task(take(bench.desk, order))
    await pid_in(bench.folder)
    await bench.orchestrate(run, RunSteerRequested(text="And mind the gap."))
    sent = await bench.until(run, lambda event: event.type == "raw.sent" and "mind the gap" in event.model_dump_json())
    assert sent.source == "runner-claude.1"
    (bench.folder / "go").touch()
    await running
    assert types(await bench.events(run))[-1] == "run.completed"


async def test_a_run_whose_runner_is_lost_is_carried_on_in_the_same_thread(
    bench: Bench, nats_client: Client, settings: Settings
) -> None:
    # The prompt to carry on holds the request, so the scripted model begins again: the command must not hang twice.
    steps = ({"say": "First."}, {"run": f'[ -e pid ] || python3 -c "{LONG}"'}, {"say": "Carried on."})
    order = await bench.request(script(*steps), thread_id=THREAD)
    run = order.payload.run_id
    running = asyncio.create_task(take(bench.desk, order))
    pid = await pid_in(bench.folder)
    running.cancel()
    await asyncio.wait({running})
    assert start_time(pid) is None

    agent = ClaudeAgent(settings.agents_root, model=settings.model)
    second = await make_bench(nats_client, agent, settings, tenant=bench.tenant, service="runner-claude")
    await take(second.desk, order)
    await agent.close()
    events = await bench.events(run)
    assert [each["attempt"] for each in contents(events, "run.resumed")] == [2]
    assert [each["nativeThreadId"] for each in contents(events, "run.resumed")] == [THREAD]
    assert contents(events, "run.completed")[0]["finalText"] == "Carried on."
    (transcript,) = settings.agents_root.glob(f"{bench.session}/.claude/projects/*/{THREAD}.jsonl")
    assert transcript.read_text().count("First.") > 1


async def test_a_killed_agent_ends_its_run_as_an_error_with_everything_closed(bench: Bench) -> None:
    order = await bench.request(script({"run": f'python3 -c "{LONG}"'}), thread_id=THREAD)
    running = asyncio.create_task(take(bench.desk, order))
    pid = await pid_in(bench.folder)
    os.kill(parent_of_shell(pid), signal.SIGKILL)
    await running
    events = await bench.events(order.payload.run_id)
    assert types(events)[-1] == "run.error"
    assert contents(events, "run.error")[0]["reason"] == "agent_error"
    assert [each["status"] for each in contents(events, "ui.tool.result")] == ["interrupted"]
    assert start_time(pid) is None


def parent_of_shell(pid: int) -> int:
    """Claude's process: the parent of the shell that runs the command."""
    shell = int(Path(f"/proc/{pid}/stat").read_text().split()[3])
    return int(Path(f"/proc/{shell}/stat").read_text().split()[3])


async def test_no_run_token_and_no_known_secret_is_in_the_log(bench: Bench) -> None:
    command = "cat ~/.token-*; echo canary-secret-0123456789"
    events = await bench.run(script({"run": command}, {"say": "Done."}), thread_id=THREAD)
    text = "".join(event.model_dump_json() for event in events if event.source.startswith("runner-claude"))
    assert types(events)[-1] == "run.completed"
    assert "canary-secret-0123456789" not in text
    assert "eyJ" not in text

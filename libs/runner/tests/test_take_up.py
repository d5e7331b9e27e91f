"""A run whose runner is gone, or whose log is away for a while."""

import asyncio
import contextlib
from collections import defaultdict
from pathlib import Path

from runyard_events.catalogue import (
    TERMINAL_TYPES,
    RunApprovalResolved,
    RunError,
    RunResumed,
    UiMessageUser,
)
from runyard_events.connection import connect
from runyard_events.envelope import Envelope
from runyard_events.topology import ensure_topology
from runyard_events.writer import Writer
from runyard_runner.adapter import AgentStart, Ask
from runyard_runner.attempt import Outcome, take
from runyard_runner.settings import RunnerSettings
from runyard_runner.testbench import KEY, MakeBench, make_bench, stub
from runyard_runner.testing import AskFor, Hang, Say, Step, StubAgent, UseTool
from runyard_stack.embedded.nats import NatsServer
from runyard_stack.embedded.ports import free_port

ASK = Ask(key="7", kind="command", title="rm", detail={"command": "rm -rf build"})


def types(events: list[Envelope]) -> list[str]:
    return [event.type for event in events]


def assert_gapless(events: list[Envelope]) -> None:
    numbers: dict[str, list[int]] = defaultdict(list)
    for event in events:
        numbers[event.source].append(event.seq)
    for source, seen in numbers.items():
        assert seen == list(range(1, len(seen) + 1)), source


async def lose(running: asyncio.Task[Outcome]) -> None:
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


def first_then(first: list[Step], then: list[Step]) -> object:
    def script(start: AgentStart) -> list[Step]:
        return first if start.attempt == 1 else then

    return script


async def test_the_next_attempt_closes_what_was_open_and_resumes_the_thread(bench: MakeBench) -> None:
    made = await bench(script=first_then([Say(3), UseTool(finished=False), Hang()], [Say(2)]))
    order = await made.request("build it")
    run_id = order.payload.run_id
    running = asyncio.create_task(take(made.desk, order))
    await made.until(run_id, lambda event: event.type == "ui.tool.output.delta")
    await lose(running)
    assert await made.desk.leases.holder(run_id) is None
    assert await take(made.desk, order) is Outcome.DONE
    events = await made.events(run_id)
    assert_gapless(events)
    assert [event.type for event in events if event.type in TERMINAL_TYPES] == ["run.completed"]
    resumed = next(event for event in events if event.type == "run.resumed")
    assert (resumed.source, resumed.payload.attempt) == ("runner-codex.2", 2)
    closed = next(event for event in events if event.type == "ui.tool.result")
    assert (closed.source, closed.payload.status) == ("runner-codex.2", "interrupted")
    again = stub(made).starts[1]
    assert again.native_thread_id == f"native-{run_id}"
    assert again.prompt.endswith("build it")
    assert again.prompt != "build it"


async def test_an_approval_survives_its_runner_and_is_not_asked_twice(bench: MakeBench) -> None:
    made = await bench(AskFor(ASK), Say(1))
    order = await made.request(approval_policy="on-request")
    run_id = order.payload.run_id
    running = asyncio.create_task(take(made.desk, order))
    asked = await made.until(run_id, lambda event: event.type == "run.approval_requested")
    await lose(running)
    answer = RunApprovalResolved(approval_id=asked.payload.approval_id, decision="accept")
    await made.orchestrate(run_id, answer)
    await take(made.desk, order)
    events = await made.events(run_id)
    assert types(events).count("run.approval_requested") == 1
    assert "answer: accept" in [e.payload.text for e in events if e.type == "ui.message.assistant.final"]


async def test_an_approval_answered_after_the_take_up_reaches_the_new_agent(bench: MakeBench) -> None:
    made = await bench(AskFor(ASK), Say(1))
    order = await made.request(approval_policy="on-request")
    run_id = order.payload.run_id
    running = asyncio.create_task(take(made.desk, order))
    asked = await made.until(run_id, lambda event: event.type == "run.approval_requested")
    await lose(running)
    running = asyncio.create_task(take(made.desk, order))
    await made.until(run_id, lambda event: event.source == "runner-codex.2" and event.kind == "raw")
    answer = RunApprovalResolved(approval_id=asked.payload.approval_id, decision="decline")
    await made.orchestrate(run_id, answer)
    await running
    events = await made.events(run_id)
    assert types(events).count("run.approval_requested") == 1
    assert "answer: decline" in [e.payload.text for e in events if e.type == "ui.message.assistant.final"]


async def test_a_run_that_no_runner_survives_is_given_up(bench: MakeBench) -> None:
    made = await bench(Say(1), Hang(), max_attempts=2)
    order = await made.request()
    run_id = order.payload.run_id
    for attempt in (1, 2):
        running = asyncio.create_task(take(made.desk, order))
        source = f"runner-codex.{attempt}"
        await made.until(run_id, lambda event, source=source: event.source == source and event.kind == "raw")
        await lose(running)
    await take(made.desk, order)
    last = (await made.events(run_id))[-1]
    assert (last.type, last.payload.reason) == ("run.error", "runner_lost")
    assert len(stub(made).starts) == 2


async def test_a_runner_whose_run_was_ended_by_another_stops_silently(bench: MakeBench) -> None:
    made = await bench(Say(1), Hang(deaf=True))
    order = await made.request()
    run_id = order.payload.run_id
    running = asyncio.create_task(take(made.desk, order))
    await made.until(run_id, lambda event: event.type == "ui.message.assistant.final")
    await made.orchestrate(run_id, RunError(reason="runner_lost", message="lost"))
    await asyncio.wait_for(running, 20)
    events = await made.events(run_id)
    assert [event.type for event in events if event.type in TERMINAL_TYPES] == ["run.error"]
    assert stub(made).turns[0].closed


async def test_a_runner_that_was_taken_over_stops_silently(bench: MakeBench) -> None:
    made = await bench(Say(1), Hang(deaf=True))
    order = await made.request()
    run_id = order.payload.run_id
    running = asyncio.create_task(take(made.desk, order))
    await made.until(run_id, lambda event: event.type == "ui.message.assistant.final")
    other = Writer(made.desk.log, scope=made.scope(run_id), source="runner-codex.2")
    await other.append(RunResumed(runner_id="another", attempt=2, reason="runner_lost"))
    await asyncio.wait_for(running, 20)
    assert not set(types(await made.events(run_id))) & TERMINAL_TYPES


async def test_events_of_others_between_do_not_disturb_the_end(bench: MakeBench) -> None:
    made = await bench(AskFor(ASK), Say(1))
    order = await made.request(approval_policy="on-request")
    run_id = order.payload.run_id
    running = asyncio.create_task(take(made.desk, order))
    asked = await made.until(run_id, lambda event: event.type == "run.approval_requested")
    await made.orchestrate(run_id, UiMessageUser(text="more", steering=True))
    await made.orchestrate(run_id, RunApprovalResolved(approval_id=asked.payload.approval_id, decision="accept"))
    await running
    events = await made.events(run_id)
    assert events[-1].type == "run.completed"
    assert_gapless(events)


async def test_a_log_that_is_away_for_a_while_loses_and_doubles_nothing(tenant: str, tmp_path: Path) -> None:
    server = NatsServer(tmp_path / "nats", free_port())
    await server.start_async()
    client = await connect(server.url, service="tests")
    try:
        await ensure_topology(client)
        settings = RunnerSettings.model_validate(
            {"workspaces_root": tmp_path / "w", "agents_root": tmp_path / "a", "run_token_key": KEY}
        )
        agent = StubAgent(lambda _: [Say(400, 0.005), UseTool(), Say(50)])
        made = await make_bench(client, agent, settings, tenant=tenant)
        order = await made.request()
        run_id = order.payload.run_id
        running = asyncio.create_task(take(made.desk, order))
        for _ in range(2):
            await made.until(run_id, lambda event: event.type == "ui.message.assistant.delta")
            server.child.kill()
            await asyncio.sleep(0.4)  # the outage itself
            await server.start_async()
        await asyncio.wait_for(running, 60)
        events = await made.events(run_id)
    finally:
        await client.close()
        await asyncio.to_thread(server.stop)
    assert_gapless(events)
    assert [event.type for event in events if event.type in TERMINAL_TYPES] == ["run.completed"]
    finals = [e.payload.text for e in events if e.type == "ui.message.assistant.final"]
    assert "".join(e.payload.text_delta for e in events if e.type == "ui.message.assistant.delta") == "".join(finals)

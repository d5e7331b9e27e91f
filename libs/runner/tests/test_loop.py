"""One attempt at a run against the real log, with a stub agent."""

import asyncio
from collections import defaultdict

from runyard_events.catalogue import (
    TERMINAL_TYPES,
    RunApprovalResolved,
    RunCancelRequested,
    RunSteerRequested,
)
from runyard_events.envelope import Envelope
from runyard_runner.adapter import Ask
from runyard_runner.attempt import Outcome, take
from runyard_runner.processes import start_time
from runyard_runner.testbench import MakeBench, stub
from runyard_runner.testing import AskFor, Break, Hang, Say, Spawn, UseTool

ASK = Ask(key="7", kind="command", title="rm", detail={"command": "rm -rf build"})


def types(events: list[Envelope], family: str | None = None) -> list[str]:
    return [event.type for event in events if family in (None, event.kind)]


def assert_gapless(events: list[Envelope]) -> None:
    numbers: dict[str, list[int]] = defaultdict(list)
    for event in events:
        numbers[event.source].append(event.seq)
    for source, seen in numbers.items():
        assert seen == list(range(1, len(seen) + 1)), source


async def test_a_run_ends_with_exactly_one_terminal_event_at_its_very_end(bench: MakeBench) -> None:
    made = await bench(UseTool(), Say(50))
    order = await made.request()
    assert await take(made.desk, order) is Outcome.DONE
    events = await made.events(order.payload.run_id)
    assert_gapless(events)
    assert [event.type for event in events if event.type in TERMINAL_TYPES] == ["run.completed"]
    assert events[-1].type == "run.completed"
    assert types(events, "lifecycle") == [
        "run.requested",
        "run.dispatched",
        "run.started",
        "run.thread_bound",
        "run.completed",
    ]
    text = "".join(e.payload.text_delta for e in events if e.type == "ui.message.assistant.delta")
    assert text == "".join(f"word{count} " for count in range(50))
    assert types(events, "raw").count("raw.received") == 56
    assert await made.desk.leases.holder(order.payload.run_id) is None


async def test_a_command_delivered_again_after_the_end_changes_nothing(bench: MakeBench) -> None:
    made = await bench()
    order = await made.request()
    await take(made.desk, order)
    before = await made.events(order.payload.run_id)
    assert await take(made.desk, order) is Outcome.DONE
    assert await made.events(order.payload.run_id) == before


async def test_a_run_held_by_another_runner_is_left_alone(bench: MakeBench) -> None:
    made = await bench()
    order = await made.request()
    await made.desk.leases.acquire(order.payload.run_id, "somebody else")
    assert await take(made.desk, order) is Outcome.HELD


async def test_a_command_without_a_run_in_the_log_is_poison(bench: MakeBench) -> None:
    made = await bench()
    order = await made.request()
    strange = order.model_copy(update={"payload": order.payload.model_copy(update={"run_id": "unknown"})})
    assert await take(made.desk, strange) is Outcome.POISON


async def test_cancel_stops_the_agent_and_closes_what_is_open(bench: MakeBench) -> None:
    made = await bench(UseTool(finished=False), Hang())
    order = await made.request()
    running = asyncio.create_task(take(made.desk, order))
    run_id = order.payload.run_id
    await made.until(run_id, lambda event: event.type == "ui.tool.output.delta")
    await made.orchestrate(run_id, RunCancelRequested(requested_by="u", reason="enough"))
    await running
    events = await made.events(run_id)
    assert_gapless(events)
    assert types(events)[-3:] == ["ui.tool.result", "ui.run.cancelled", "run.cancelled"]
    assert events[-3].payload.status == "interrupted"
    assert events[-3].payload.output == "done\n"
    assert events[-1].payload.requested_by == "u"
    assert stub(made).turns[0].closed


async def test_an_agent_that_does_not_listen_is_killed_with_its_grandchildren(bench: MakeBench) -> None:
    script = "setsid sleep 300 & setsid sleep 301 & echo; wait"
    made = await bench(Spawn(("/bin/sh", "-c", script)), Say(1), Hang(deaf=True))
    order = await made.request()
    running = asyncio.create_task(take(made.desk, order))
    run_id = order.payload.run_id
    await made.until(run_id, lambda event: event.type == "ui.message.assistant.final")
    child = stub(made).turns[0].children[0]
    await anext(child.lines())
    family = await asyncio.to_thread(child.family)
    assert len(family) == 3
    await made.orchestrate(run_id, RunCancelRequested())
    await running
    assert [pid for pid, started in family.items() if start_time(pid) == started] == []
    assert types(await made.events(run_id))[-1] == "run.cancelled"


async def test_a_run_cancelled_before_a_runner_takes_it_never_starts(bench: MakeBench) -> None:
    made = await bench()
    order = await made.request()
    await made.orchestrate(order.payload.run_id, RunCancelRequested(requested_by="u"))
    await take(made.desk, order)
    assert types(await made.events(order.payload.run_id))[-2:] == ["ui.run.cancelled", "run.cancelled"]
    assert stub(made).starts == []


async def test_a_broken_agent_ends_the_run_with_its_reason(bench: MakeBench) -> None:
    made = await bench(Say(3), Break("it fell over"))
    order = await made.request()
    await take(made.desk, order)
    last = (await made.events(order.payload.run_id))[-1]
    assert (last.type, last.payload.reason, last.payload.message) == ("run.error", "agent_error", "it fell over")


async def test_a_run_that_takes_too_long_is_stopped(bench: MakeBench) -> None:
    made = await bench(Say(3), Hang())
    order = await made.request(time_limit_seconds=1)
    await take(made.desk, order)
    last = (await made.events(order.payload.run_id))[-1]
    assert (last.type, last.payload.reason) == ("run.error", "time_limit")


async def test_a_working_directory_outside_the_workspaces_is_refused(bench: MakeBench) -> None:
    made = await bench()
    link = made.folder / "out"
    link.symlink_to("/etc")
    for directory, reason in ((str(link), "start_failed"), (str(link / "missing"), "workspace_lost")):
        order = await made.request(working_directory=directory)
        await take(made.desk, order)
        assert (await made.events(order.payload.run_id))[-1].payload.reason == reason
    assert stub(made).starts == []


async def test_an_answer_reaches_the_agent(bench: MakeBench) -> None:
    made = await bench(AskFor(ASK), Say(1))
    order = await made.request(approval_policy="on-request")
    running = asyncio.create_task(take(made.desk, order))
    run_id = order.payload.run_id
    asked = await made.until(run_id, lambda event: event.type == "run.approval_requested")
    await made.orchestrate(run_id, RunApprovalResolved(approval_id=asked.payload.approval_id, decision="accept"))
    await running
    events = await made.events(run_id)
    assert_gapless(events)
    assert "answer: accept" in [e.payload.text for e in events if e.type == "ui.message.assistant.final"]
    assert types(events).index("ui.approval.requested") < types(events).index("run.approval_requested")


async def test_nobody_is_asked_under_the_policy_never(bench: MakeBench) -> None:
    made = await bench(AskFor(ASK))
    order = await made.request(approval_policy="never")
    await take(made.desk, order)
    events = await made.events(order.payload.run_id)
    assert "run.approval_requested" not in types(events)
    assert "answer: decline" in [e.payload.text for e in events if e.type == "ui.message.assistant.final"]


async def test_cancel_as_an_answer_cancels_the_run(bench: MakeBench) -> None:
    made = await bench(AskFor(ASK), Hang())
    order = await made.request(approval_policy="on-request")
    running = asyncio.create_task(take(made.desk, order))
    run_id = order.payload.run_id
    asked = await made.until(run_id, lambda event: event.type == "run.approval_requested")
    await made.orchestrate(run_id, RunApprovalResolved(approval_id=asked.payload.approval_id, decision="cancel"))
    await running
    assert types(await made.events(run_id))[-1] == "run.cancelled"


async def test_words_added_to_a_running_turn_reach_the_agent(bench: MakeBench) -> None:
    made = await bench(Say(1), AskFor(ASK))
    order = await made.request(approval_policy="on-request")
    running = asyncio.create_task(take(made.desk, order))
    run_id = order.payload.run_id
    asked = await made.until(run_id, lambda event: event.type == "run.approval_requested")
    await made.orchestrate(run_id, RunSteerRequested(text="be brief"))
    await made.orchestrate(run_id, RunApprovalResolved(approval_id=asked.payload.approval_id, decision="accept"))
    await running
    assert stub(made).turns[0].steered == ["be brief"]


async def test_a_secret_in_pieces_never_reaches_the_log(bench: MakeBench) -> None:
    made = await bench(UseTool(output="key=canary-secret-0123456789 ok"), Say(2))
    order = await made.request()
    await take(made.desk, order)
    stored = [one.data.decode() async for one in made.desk.log.replay(f"ev.{made.tenant}.session.{made.session}.run.>")]
    assert not any("canary-secret-0123456789" in one for one in stored)
    assert any("[redacted]" in one for one in stored)

"""The real Codex end to end, on the real log and the scripted model."""

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import pytest

from runyard_events.catalogue import RunApprovalResolved, RunCancelRequested, RunSteerRequested
from runyard_events.envelope import Envelope
from runyard_runner.attempt import take
from runyard_runner.processes import start_time
from runyard_runner.testbench import Bench, MakeBench, script
from runyard_runner_codex.adapters.agent import CodexAgent

pytestmark = pytest.mark.agents


def payloads(events: list[Envelope], event_type: str) -> list[Any]:
    return [event.payload for event in events if event.type == event_type]


async def answered(made: Bench, prompt: str, decision: str, answer: str | None = None) -> list[Envelope]:
    """A run whose one approval or question is answered."""
    order = await made.request(prompt, approval_policy="on-request")
    run_id = order.payload.run_id
    running = asyncio.create_task(take(made.desk, order))
    asked = await made.until(run_id, lambda event: event.type == "run.approval_requested")
    resolved = RunApprovalResolved.model_validate(
        {
            "approval_id": asked.payload.approval_id,
            "decision": decision,
            "answers": {one["id"]: answer for one in asked.payload.questions} or None,
        }
    )
    await made.orchestrate(run_id, resolved)
    await running
    return await made.events(run_id)


async def test_a_plain_message_streams_and_completes(bench: MakeBench) -> None:
    made = await bench()
    events = await made.run(script({"tokens": 50}))
    assert [event.type for event in events][-2:] == ["ui.run.completed", "run.completed"]
    text = "".join(one.text_delta for one in payloads(events, "ui.message.assistant.delta"))
    assert [one.text for one in payloads(events, "ui.message.assistant.final")] == [text]
    assert events[-1].payload.final_text == text
    assert events[-1].payload.usage.output_tokens > 0
    assert payloads(events, "ui.error") == []


async def test_reasoning_plan_commands_and_files_are_told(bench: MakeBench) -> None:
    made = await bench()
    events = await made.run("[[script: everything]]")
    assert payloads(events, "ui.reasoning.final")[0].text.startswith("I follow the script")
    assert [step.status for step in payloads(events, "ui.plan.updated")[-1].steps] == ["completed", "completed"]
    calls = payloads(events, "ui.tool.call")
    results = {one.call_id: one for one in payloads(events, "ui.tool.result")}
    assert {call.call_id for call in calls} == set(results)
    listed = next(call for call in calls if call.input.get("command", "").startswith("ls"))
    assert results[listed.call_id].output.endswith("looked\n")
    failed = next(call for call in calls if call.input.get("command") == "exit 3")
    assert (results[failed.call_id].status, results[failed.call_id].exit_code) == ("failed", 3)
    changed = payloads(events, "ui.file.changed")
    assert [(one.path, one.change) for one in changed] == [("scripted.md", "add"), ("scripted.md", "update")]
    assert "+second line" in changed[1].diff
    assert (made.folder / "scripted.md").read_text() == "# Scripted\n\nsecond line\n"


async def test_a_commands_output_is_seen_while_it_runs(bench: MakeBench) -> None:
    made = await bench()
    order = await made.request(script({"run": "sleep 0.5; echo first; sleep 1; echo second"}, {"say": "ok"}))
    run_id = order.payload.run_id
    running = asyncio.create_task(take(made.desk, order))
    shown = await made.until(run_id, lambda event: event.type == "ui.tool.output.delta")
    assert shown.payload.text_delta == "first\n"
    assert not running.done()
    await running
    assert payloads(await made.events(run_id), "ui.tool.result")[0].output == "first\nsecond\n"


async def test_the_sandbox_keeps_commands_inside_the_worktree(bench: MakeBench) -> None:
    made = await bench()
    await made.run(script({"run": "echo in > inside; echo out > ../outside"}, {"say": "ok"}))
    assert (made.folder / "inside").exists()
    outside = made.folder.parent / "outside"
    # A temporary folder is writable for Codex, and tests live in one.
    assert not outside.exists() or str(outside).startswith("/tmp")  # noqa: S108


async def test_full_access_is_a_setting(bench: MakeBench) -> None:
    made = await bench(codex_sandbox_type="danger-full-access")
    events = await made.run(script({"run": "echo free"}, {"say": "ok"}))
    assert payloads(events, "ui.tool.result")[0].output == "free\n"


async def test_an_accepted_command_runs(bench: MakeBench) -> None:
    made = await bench()
    prompt = script({"run": "echo escalated", "escalate": "because"}, {"say": "ok"})
    events = await answered(made, prompt, "accept")
    asked = payloads(events, "run.approval_requested")[0]
    assert (asked.ask_kind, asked.title, asked.detail["reason"]) == ("command", "echo escalated", "because")
    assert payloads(events, "ui.tool.result")[0].output == "escalated\n"
    assert events[-1].type == "run.completed"


async def test_a_declined_command_does_not_run_and_the_turn_goes_on(bench: MakeBench) -> None:
    made = await bench()
    prompt = script({"run": "echo escalated", "escalate": "because"}, {"say": "went on"})
    events = await answered(made, prompt, "decline")
    assert payloads(events, "ui.tool.result")[0].status == "declined"
    assert events[-1].payload.final_text == "went on"


async def test_cancel_as_an_answer_ends_the_run(bench: MakeBench) -> None:
    made = await bench()
    prompt = script({"run": "echo escalated", "escalate": "because"}, {"say": "went on"})
    events = await answered(made, prompt, "cancel")
    assert events[-1].type == "run.cancelled"


async def test_a_file_outside_the_worktree_is_asked_for_with_its_diff(bench: MakeBench) -> None:
    made = await bench()
    outside = Path.home() / f"runyard-test-{made.session}.md"
    prompt = script({"write": str(outside), "text": "words\n"}, {"say": "ok"})
    try:
        events = await answered(made, prompt, "accept")
        asked = payloads(events, "run.approval_requested")[0]
        assert (asked.ask_kind, asked.title) == ("file_change", str(outside))
        assert asked.detail["changes"][0]["diff"].endswith("+words\n")
        assert outside.read_text() == "words\n"
        outside.unlink()
        events = await answered(made, prompt, "decline")
        assert payloads(events, "ui.tool.result")[0].status == "declined"
        assert payloads(events, "ui.file.changed") == []
        assert not outside.exists()
    finally:
        outside.unlink(missing_ok=True)


async def test_a_question_gets_its_answer(bench: MakeBench) -> None:
    made = await bench()
    events = await answered(made, "[[script: question]]", "accept", "blue")
    asked = payloads(events, "run.approval_requested")[0]
    assert (asked.ask_kind, asked.title) == ("question", "Which colour?")
    assert [option["label"] for option in asked.questions[0]["options"]] == ["red", "blue"]
    sent = [one.root["result"] for one in payloads(events, "raw.sent") if "result" in one.root]
    assert [list(one["answers"].values()) for one in sent] == [[{"answers": ["blue"]}]]
    assert events[-1].type == "run.completed"


async def test_a_sub_agent_has_its_own_beginning_and_end(bench: MakeBench) -> None:
    made = await bench()
    events = await made.run("[[script: subagent]]", model="scripted")
    (begun,), (ended,) = payloads(events, "ui.subagent.started"), payloads(events, "ui.subagent.ended")
    assert (ended.subagent_id, ended.summary) == (begun.subagent_id, "The sub-agent is done.")
    parents = {call.tool_name: call.parent_call_id for call in payloads(events, "ui.tool.call")}
    assert parents["shell"] == begun.call_id
    assert [one.text for one in payloads(events, "ui.message.assistant.final")] == ["The sub-agent was started."]


async def test_cancel_in_the_middle_of_a_command_leaves_nothing_running(bench: MakeBench) -> None:
    made = await bench()
    order = await made.request(script({"run": "sleep 300"}, {"say": "never"}))
    run_id = order.payload.run_id
    running = asyncio.create_task(take(made.desk, order))
    await made.until(run_id, lambda event: event.type == "ui.tool.call")
    server = server_of(made)
    before = await asyncio.to_thread(server.child.family)
    await made.orchestrate(run_id, RunCancelRequested(requested_by="u"))
    await asyncio.wait_for(running, 10)
    events = await made.events(run_id)
    assert [event.type for event in events][-3:] == ["ui.tool.result", "ui.run.cancelled", "run.cancelled"]
    assert events[-3].payload.status == "interrupted"
    await until_gone({pid: at for pid, at in before.items() if pid != server.child.pid})
    assert server.alive, "the session's process is kept for its next run"


async def test_a_dead_agent_ends_the_run_and_nothing_of_it_survives(bench: MakeBench) -> None:
    made = await bench(codex_sandbox_type="danger-full-access")
    order = await made.request(script({"run": "sleep 300"}, {"say": "never"}))
    run_id = order.payload.run_id
    running = asyncio.create_task(take(made.desk, order))
    await made.until(run_id, lambda event: event.type == "ui.tool.call")
    server = server_of(made)
    family = await asyncio.to_thread(server.child.family)
    server.child.process.kill()
    await asyncio.wait_for(running, 20)
    last = (await made.events(run_id))[-1]
    assert (last.type, last.payload.reason) == ("run.error", "agent_error")
    await until_gone(family)


async def test_the_conversation_goes_on_in_the_next_run_and_in_a_fresh_process(bench: MakeBench) -> None:
    made = await bench()
    first = await made.run(script({"say": "one"}))
    thread = payloads(first, "run.thread_bound")[0].native_thread_id
    warm = await made.run(script({"say": "two"}), native_thread_id=thread)
    assert payloads(warm, "run.thread_bound") == []
    agent = made.desk.agent
    assert isinstance(agent, CodexAgent)
    await agent.close()
    fresh = await made.run(script({"say": "three"}), native_thread_id=thread)
    assert payloads(fresh, "run.thread_bound") == []
    assert fresh[-1].payload.final_text == "three"
    assert fresh[-1].payload.usage.input_tokens > first[-1].payload.usage.input_tokens


async def test_a_thread_that_is_gone_is_replaced_and_said_so(bench: MakeBench) -> None:
    made = await bench()
    gone = "01a1fb6b-46b2-7832-afde-8a172866990b"
    events = await made.run(script({"say": "fresh"}), native_thread_id=gone)
    assert payloads(events, "run.thread_bound")[0].native_thread_id != gone
    assert "without it" in payloads(events, "ui.notice")[0].message
    assert events[-1].type == "run.completed"


async def test_a_run_taken_up_again_resumes_its_thread(bench: MakeBench) -> None:
    made = await bench()
    order = await made.request(script({"run": "sleep 5"}, {"say": "carried on"}))
    run_id = order.payload.run_id
    lost = asyncio.create_task(take(made.desk, order))
    await made.until(run_id, lambda event: event.type == "ui.tool.call")
    lost.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await lost
    await take(made.desk, order)
    events = await made.events(run_id)
    bound = payloads(events, "run.thread_bound")
    resumed = payloads(events, "run.resumed")[0]
    assert (resumed.attempt, resumed.native_thread_id) == (2, bound[0].native_thread_id)
    assert len(bound) == 1
    assert payloads(events, "ui.tool.result")[0].status == "interrupted"
    assert events[-1].type == "run.completed"


async def test_words_added_to_a_running_turn_reach_the_model(bench: MakeBench) -> None:
    made = await bench()
    order = await made.request(script({"run": "sleep 1"}, {"say": "ok"}))
    run_id = order.payload.run_id
    running = asyncio.create_task(take(made.desk, order))
    await made.until(run_id, lambda event: event.type == "ui.tool.call")
    await made.orchestrate(run_id, RunSteerRequested(text="and be brief"))
    await running
    events = await made.events(run_id)
    said = [one.root for one in payloads(events, "raw.received") if one.root.get("method") == "item/completed"]
    words = [one["params"]["item"] for one in said if one["params"]["item"]["type"] == "userMessage"]
    assert [word["content"][0]["text"] for word in words][-1] == "and be brief"
    assert payloads(events, "ui.notice") == []


async def test_a_gateway_that_is_away_ends_the_run_soon(bench: MakeBench) -> None:
    made = await bench(llm_gateway_url="http://127.0.0.1:9")
    events = await asyncio.wait_for(made.run("hello"), 60)
    assert (events[-1].type, events[-1].payload.reason) == ("run.error", "model_error")


async def test_the_runs_token_is_neither_in_the_log_nor_left_on_disk(bench: MakeBench) -> None:
    made = await bench()
    await made.run(script({"run": "env; cat $CODEX_HOME/run-token"}, {"say": "ok"}))
    stored = [one.data async for one in made.desk.log.replay(f"ev.{made.tenant}.>")]
    home = made.desk.settings.agents_root / made.session
    kept = [path.read_bytes() for path in home.rglob("*") if path.is_file() and not path.is_symlink()]
    assert not any(b'"eyJhbGci' in data or b"Bearer eyJ" in data for data in stored)
    assert not (home / "run-token").exists()
    assert len(kept) > 3


def server_of(made: Bench) -> Any:
    agent: Any = made.desk.agent
    return agent._servers._seats[made.session].warm.server


async def until_gone(family: dict[int, str]) -> None:
    async with asyncio.timeout(20):
        while any(start_time(pid) == started for pid, started in family.items()):  # noqa: ASYNC110 - not our children
            await asyncio.sleep(0.02)

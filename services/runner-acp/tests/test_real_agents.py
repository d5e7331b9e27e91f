"""The real opencode, Droid and Gemini CLI, installed from npm, on the real log and the scripted model."""

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

from runyard_events.catalogue import RunApprovalResolved, RunCancelRequested
from runyard_events.envelope import Envelope
from runyard_runner.attempt import take
from runyard_runner.testbench import Bench, MakeBench, script

pytestmark = [pytest.mark.agents, pytest.mark.acp]

AGENTS = pytest.mark.parametrize("agent", ["opencode", "droid", "gemini"])


def payloads(events: list[Envelope], event_type: str) -> list[Any]:
    return [event.payload for event in events if event.type == event_type]


async def answered(made: Bench, prompt: str, decision: str, agent: str) -> list[Envelope]:
    """A run whose one approval is answered."""
    order = await made.request(prompt, approval_policy="on-request", runner_type=agent)
    run_id = order.payload.run_id
    running = asyncio.create_task(take(made.desk, order))
    asked = await made.until(run_id, lambda event: event.type in ("run.approval_requested", "run.error"))
    resolved = {"approval_id": asked.payload.approval_id, "decision": decision}
    await made.orchestrate(run_id, RunApprovalResolved.model_validate(resolved))
    await running
    return await made.events(run_id)


@AGENTS
async def test_reasoning_plan_commands_and_files_are_told(bench: MakeBench, agent: str) -> None:
    made = await bench()
    prompt = script(
        {"run": "echo hello; exit 3"},
        {"run": "git status --short > /dev/null; X=$(printf %s a | head -n 1 'made.md' - 2>&1); ln -s a b; rm -rf b"},
        {"write": "made.md", "text": "# Made\n"},
        {"plan": [["look", "completed"], ["write", "pending"]]},
        {"say": "all done"},
    )
    events = await made.run(prompt, runner_type=agent)
    assert (events[-2].type, events[-1].type) == ("ui.run.completed", "run.completed"), events[-1].payload
    assert events[-1].payload.final_text == "all done"
    assert events[-1].payload.usage.output_tokens > 0
    assert agent in {event.provider for event in events if event.kind == "ui"}
    calls = payloads(events, "ui.tool.call")
    results = {one.call_id: one for one in payloads(events, "ui.tool.result")}
    assert {call.call_id for call in calls} == set(results)
    assert {one.status for one in results.values()} <= {"completed", "failed"}, "nothing was refused or broken off"
    ran = next(call for call in calls if call.category == "command")
    assert ran.input["command"] == "echo hello; exit 3"
    assert (made.folder / "made.md").read_text() == "# Made\n"
    if agent == "gemini":  # tells over ACP neither how a command ended nor its plan
        assert [one.path for one in payloads(events, "ui.file.changed")] == ["made.md"]
        assert (results[ran.call_id].status, results[ran.call_id].output) == ("completed", "hello")
    else:
        assert (results[ran.call_id].status, results[ran.call_id].exit_code) == ("failed", 3)
        assert [step.status for step in payloads(events, "ui.plan.updated")[-1].steps] == ["completed", "pending"]
    assert len({event.type for event in events if event.kind == "raw"}) > 1, "both directions are on record"


@AGENTS
async def test_a_thread_goes_on_in_the_next_run(bench: MakeBench, agent: str) -> None:
    made = await bench()
    first = await made.run(script({"run": "echo one"}, {"say": "one"}), runner_type=agent)
    thread = next(event.payload.native_thread_id for event in first if event.type == "run.thread_bound")
    second = await made.run(script({"say": "two"}), runner_type=agent, native_thread_id=thread)
    assert second[-1].payload.final_text == "two"
    assert payloads(second, "ui.notice") == []
    assert payloads(second, "ui.tool.call") == [], "what is told again of the past belongs to no run"
    assert [one.text for one in payloads(second, "ui.message.assistant.final")] == ["two"]
    third = await made.run(script({"say": "three"}), runner_type=agent, native_thread_id=thread)
    assert (third[-1].payload.final_text, payloads(third, "ui.notice")) == ("three", [])
    assert third[-1].payload.usage.input_tokens > second[-1].payload.usage.input_tokens, "all of it is still there"


async def test_gemini_tells_no_command_the_runs_token_and_its_record_is_without_it(bench: MakeBench) -> None:
    made = await bench()
    look = "env; cat /proc/$PPID/environ /proc/$PPID/cmdline | tr '\\0' '\\n'; grep -r ey[J] $HOME"
    events = await made.run(script({"run": look}, {"say": "seen"}), runner_type="gemini")
    shown = payloads(events, "ui.tool.result")[0].output
    assert "GOOGLE_GEMINI_BASE_URL=" in shown
    told: list[Any] = [event.payload.root for event in events if event.kind == "raw"]
    assert [one for one in told if one.get("method") == "authenticate"]
    assert not re.search(r"eyJ[\w-]{8,}\.", str([event.payload for event in events]))


@AGENTS
async def test_a_thread_that_is_gone_is_said_to_be_lost(bench: MakeBench, agent: str) -> None:
    made = await bench()
    gone = "ses_gone" if agent == "opencode" else "6642f7e4-0000-4296-8d6b-3c4305235442"
    events = await made.run(script({"say": "anew"}), runner_type=agent, native_thread_id=gone)
    assert events[-1].payload.final_text == "anew"
    assert "could not be opened" in payloads(events, "ui.notice")[0].message


@AGENTS
@pytest.mark.parametrize(("decision", "made_it"), [("accept", True), ("decline", False)])
async def test_an_approval_decides(bench: MakeBench, agent: str, decision: str, made_it: bool) -> None:  # noqa: FBT001
    made = await bench()
    prompt = script({"run": "echo hi > asked.txt"}, {"say": "ok"})
    events = await answered(made, prompt, decision, agent)
    asked = payloads(events, "ui.approval.requested")[0]
    assert (asked.ask_kind, asked.title) == ("command", "echo hi > asked.txt")
    assert (made.folder / "asked.txt").exists() is made_it
    assert events[-1].type in ("run.completed", "run.cancelled")


@AGENTS
async def test_a_cancelled_run_leaves_no_process(bench: MakeBench, agent: str) -> None:
    made = await bench()
    order = await made.request(script({"run": "echo begun; sleep 300"}, {"say": "never"}), runner_type=agent)
    run_id = order.payload.run_id
    running = asyncio.create_task(take(made.desk, order))
    begun = "ui.tool.call" if agent == "gemini" else "ui.tool.output.delta"  # it tells a command's output at its end
    await made.until(run_id, lambda event: event.type in (begun, "run.error"))
    await made.orchestrate(run_id, RunCancelRequested(requested_by="somebody", reason="enough"))
    await running
    assert (await made.events(run_id))[-1].type == "run.cancelled"
    assert not [one for one in _commands() if "sleep 300" in one]


def _commands() -> list[str]:
    found: list[str] = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(place.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return found

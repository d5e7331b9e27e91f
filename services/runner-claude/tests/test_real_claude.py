"""The real Claude, offline, against the scripted model: what the run loop will see of it."""

import asyncio
import json
import uuid
from pathlib import Path

import pytest

from runyard_events.catalogue import (
    AssistantDelta,
    AssistantFinal,
    FileChanged,
    PlanUpdated,
    ReasoningFinal,
    Retrying,
    SubagentEnded,
    ToolCall,
    ToolResult,
    UiError,
    Usage,
)
from runyard_runner.adapter import AgentFailed, Turn

from .turns import SECRET_OF_THE_RUNNER, TOKEN, Session, once_a_tool_runs, session

__all__ = ["session"]

pytestmark = [pytest.mark.agents, pytest.mark.timeout(60)]


def files_with(words: str, folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and words.encode() in path.read_bytes()]


async def test_a_plain_message_streams_and_ends_with_its_whole_text(session: Session) -> None:
    heard = await session.run({"think": "Be brief."}, {"say": "Hello **you**."})
    assert "".join(each.text_delta for each in heard.all(AssistantDelta)) == "Hello **you**."
    (final,) = heard.all(AssistantFinal)
    assert final.text == "Hello **you**."
    assert {each.message_id for each in heard.all(AssistantDelta)} == {final.message_id}
    assert [each.text for each in heard.all(ReasoningFinal)] == ["Be brief."]
    assert (heard.end.status, heard.end.final_text) == ("completed", "Hello **you**.")
    assert isinstance(heard.end.usage, Usage)
    assert heard.end.usage.output_tokens > 0


async def test_every_line_of_both_directions_is_raw(session: Session) -> None:
    heard = await session.run({"say": "Hello."})
    sent = [native.raw for native in heard.natives if native.direction == "sent" and native.raw]
    assert [each["type"] for each in sent] == ["control_request", "user"]
    received = [native.raw for native in heard.natives if native.direction == "received" and native.raw]
    assert {"control_response", "system", "stream_event", "assistant", "result"} <= {each["type"] for each in received}


async def test_the_native_thread_is_known_and_is_our_own(session: Session) -> None:
    heard = await session.run({"say": "Hello."})
    assert [native.thread for native in heard.natives if native.thread] == [session.thread_id]


async def test_a_command_runs_in_the_working_directory_and_tells_its_exit_code(session: Session) -> None:
    heard = await session.run({"run": "pwd"}, {"run": "echo oops; exit 3"}, {"say": "Done."})
    calls = heard.all(ToolCall)
    assert [(call.tool_name, call.category) for call in calls] == [("Bash", "command")] * 2
    results = [heard.results()[str(call.call_id)] for call in calls]
    assert [(result.status, result.exit_code) for result in results] == [("completed", 0), ("failed", 3)]
    assert results[0].output == str(session.cwd)
    assert "oops" in results[1].output


async def test_files_that_are_written_and_edited_come_with_their_diffs(session: Session) -> None:
    heard = await session.run(
        {"write": "a.md", "text": "one\ntwo\n"},
        {"edit": "a.md", "old": "two", "new": "three"},
        {"say": "Done."},
    )
    added, updated = heard.all(FileChanged)
    assert (added.path, added.change) == ("a.md", "add")
    assert added.diff == "--- /dev/null\n+++ b/a.md\n@@ -0,0 +1,2 @@\n+one\n+two\n"
    assert (updated.path, updated.change) == ("a.md", "update")
    assert updated.diff is not None
    assert "-two\n+three\n" in updated.diff
    assert (session.cwd / "a.md").read_text() == "one\nthree\n"


async def test_the_plan_is_told(session: Session) -> None:
    heard = await session.run({"plan": [["Look", "in_progress"], ["Report", "pending"]]}, {"say": "Done."})
    (plan,) = heard.all(PlanUpdated)
    assert [(step.text, step.status) for step in plan.steps] == [("Look", "in_progress"), ("Report", "pending")]


async def test_a_sub_agent_is_part_of_the_turn(session: Session) -> None:
    heard = await session.run(prompt="Please go. [[script: subagent]]")
    (ended,) = heard.all(SubagentEnded)
    assert (ended.status, ended.summary) == ("completed", "The sub-agent is done.")
    spawned, within = heard.all(ToolCall)
    assert (spawned.category, within.parent_call_id) == ("subagent", spawned.call_id)
    assert heard.end.status == "completed"


async def test_a_thread_whose_transcript_is_gone_begins_afresh_and_says_so(session: Session) -> None:
    heard = await session.run({"say": "Hello."}, thread=str(uuid.uuid4()))
    assert "memory of this session's earlier runs is gone" in heard.natives[0].neutral[0].model_dump_json()
    assert heard.end.status == "completed"


async def test_words_for_a_running_turn_reach_the_model(session: Session) -> None:
    steered: list[bool] = []
    started = session.cwd / "started"

    async def steer(turn: Turn) -> None:
        steered.append(await turn.steer("And mind the gap."))
        (session.cwd / "go").touch()

    heard = await session.run(
        {"run": "echo x > started; while [ ! -e go ]; do sleep 0.05; done"},
        {"say": "Done."},
        react=once_a_tool_runs(steer, started),
    )
    assert steered == [True]
    assert heard.end.status == "completed"
    assert "And mind the gap." in session.transcript
    assert session.turn is not None
    assert await session.turn.steer("Too late.") is False


async def test_a_failing_model_is_retried_and_then_ends_the_turn_as_a_model_error(session: Session) -> None:
    heard = await session.run({"error": 500, "message": "overloaded"})
    assert [retry.attempt for retry in heard.all(Retrying)] == [1, 2]
    (error,) = heard.all(UiError)
    assert "500" in error.message
    assert (heard.end.status, heard.end.reason) == ("error", "model_error")
    assert "500" in (heard.end.message or "")


async def test_a_gateway_that_is_not_there_ends_the_turn_as_a_model_error(session: Session) -> None:
    session.model_url = "http://127.0.0.1:9"
    heard = await session.run({"say": "Hello."})
    assert (heard.end.status, heard.end.reason) == ("error", "model_error")


async def test_neither_the_runs_token_nor_the_runners_secrets_are_in_the_environment(session: Session) -> None:
    heard = await session.run(
        {"run": "env; cat /proc/$PPID/environ | tr '\\0' '\\n'; cat /proc/$PPID/cmdline"}, {"say": "Done."}
    )
    environment = heard.all(ToolResult)[0].output
    assert "ANTHROPIC_BASE_URL=" in environment
    assert "JWT_SECRET_KEY" not in environment
    assert TOKEN not in heard.everything
    assert SECRET_OF_THE_RUNNER not in heard.everything


async def test_nothing_but_the_sessions_own_work_lies_in_the_repository_and_no_token_is_left(session: Session) -> None:
    await session.run({"write": "a.md", "text": "one\n"}, {"say": "Done."})
    assert [path.name for path in session.cwd.iterdir()] == ["a.md"]
    assert files_with(TOKEN, session.home) == []


async def test_settings_of_the_repository_cannot_run_commands(session: Session) -> None:
    hook = {"hooks": [{"type": "command", "command": "touch hooked"}]}
    settings = {"hooks": {"UserPromptSubmit": [hook], "SessionStart": [hook]}}
    (session.cwd / ".claude").mkdir()
    (session.cwd / ".claude" / "settings.json").write_text(json.dumps(settings))
    heard = await session.run({"say": "Hello."})
    assert heard.end.status == "completed"
    assert not (session.cwd / "hooked").exists()


async def test_a_prompt_is_words_and_no_command_line(session: Session) -> None:
    heard = await session.run(prompt="/compact [[script: tokens 3]]")
    assert heard.end.status == "completed"
    assert len(heard.all(AssistantFinal)) == 1


async def test_output_of_several_megabytes_passes(session: Session) -> None:
    heard = await session.run({"bytes": 4_000_000})
    (final,) = heard.all(AssistantFinal)
    assert len(final.text) == 4_000_000


async def test_a_deep_home_folder_is_no_hindrance(session: Session) -> None:
    session.home = session.home.joinpath(*["a-rather-long-folder-name"] * 8)
    heard = await session.run({"run": "echo hi"}, {"say": "Done."})
    assert heard.end.status == "completed"


async def test_a_working_directory_that_is_gone_fails_the_start(session: Session) -> None:
    session.cwd = session.cwd / "nowhere"
    with pytest.raises(AgentFailed) as failure:
        await session.run({"say": "Hello."})
    assert failure.value.reason == "start_failed"


async def test_turns_that_run_at_the_same_time_do_not_meet(session: Session, tmp_path: Path) -> None:
    others = [
        Session(session.agent, session.model_url, tmp_path / "agents" / f"session-{number}", session.cwd)
        for number in (2, 3)
    ]
    heard = await asyncio.gather(*(each.run({"say": f"I am {number}."}) for number, each in enumerate(others)))
    assert [each.end.final_text for each in heard] == ["I am 0.", "I am 1."]

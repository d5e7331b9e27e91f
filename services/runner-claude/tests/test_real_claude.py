"""The real Claude, offline, against the scripted model: what the run loop will see of it."""

import asyncio
import json
import os
import signal
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest
import pytest_asyncio

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
from runyard_runner.adapter import AgentFailed, AgentStart, ApprovalPolicy, Ask, Decision, Native, Turn, TurnEnd
from runyard_runner.environment import agent_environment
from runyard_runner.processes import start_time
from runyard_runner_claude.adapters.agent import ClaudeAgent

pytestmark = [pytest.mark.agents, pytest.mark.timeout(60)]

TOKEN = "canary-token-4711"
SECRET_OF_THE_RUNNER = "canary-secret-4712"
P = TypeVar("P")
React = Callable[[Native, Turn], Awaitable[None]]


@dataclass
class Heard:
    """What a turn said."""

    natives: list[Native] = field(default_factory=list[Native])

    def all(self, kind: type[P]) -> list[P]:
        return [each for native in self.natives for each in native.neutral if isinstance(each, kind)]

    def results(self) -> dict[str, ToolResult]:
        return {str(result.call_id): result for result in self.all(ToolResult)}

    @property
    def end(self) -> TurnEnd:
        end = self.natives[-1].end
        assert end is not None
        return end

    @property
    def asks(self) -> list[Ask]:
        return [native.ask for native in self.natives if native.ask]

    @property
    def everything(self) -> str:
        return json.dumps([native.raw for native in self.natives])


@dataclass
class Session:
    """A session with one agent process per turn."""

    agent: ClaudeAgent
    model_url: str
    home: Path
    cwd: Path
    thread_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    turn: Turn | None = None

    def start(self, prompt: str, policy: ApprovalPolicy, native_thread_id: str | None) -> AgentStart:
        return AgentStart(
            run_id=str(uuid.uuid4()),
            session_id=self.home.name,
            thread_id=self.thread_id,
            native_thread_id=native_thread_id,
            attempt=1,
            prompt=prompt,
            cwd=self.cwd,
            home=self.home,
            model=None,
            approval_policy=policy,
            model_base_url=self.model_url,
            run_token=TOKEN,
            env=agent_environment(os.environ, self.home),
        )

    async def run(
        self,
        *steps: dict[str, Any],
        prompt: str = "",
        policy: ApprovalPolicy = "never",
        thread: str | None = None,
        react: React | None = None,
    ) -> Heard:
        words = prompt or f"Please go. [[script: {json.dumps({'steps': steps})}]]"
        self.turn = await self.agent.start(self.start(words, policy, thread))
        heard = Heard()
        try:
            async for native in self.turn:
                heard.natives.append(native)
                if react:
                    await react(native, self.turn)
        finally:
            await self.turn.close()
        return heard


@pytest_asyncio.fixture
async def session(model_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Session]:
    monkeypatch.setenv("JWT_SECRET_KEY", SECRET_OF_THE_RUNNER)
    monkeypatch.setenv("ANTHROPIC_API_KEY", SECRET_OF_THE_RUNNER)
    cwd = tmp_path / "repo"
    cwd.mkdir()
    agent = ClaudeAgent(tmp_path / "agents", model="claude-scripted", retries=2)
    yield Session(agent, model_url, tmp_path / "agents" / "session-1", cwd)
    await agent.close()


def answering(**decisions: Decision) -> React:
    """Answers each ask by its kind."""

    async def react(native: Native, turn: Turn) -> None:
        if native.ask:
            await turn.answer(native.ask.key, decisions[native.ask.kind])

    return react


def once_a_tool_runs(act: Callable[[Turn], Awaitable[object]], started: Path) -> React:
    """Acts when the command of the first tool call has made its file."""
    done = False

    async def react(native: Native, turn: Turn) -> None:
        nonlocal done
        if not done and any(isinstance(each, ToolCall) for each in native.neutral):
            done = True
            await until(lambda: written(started))
            await act(turn)

    return react


async def until(true: Callable[[], object]) -> None:
    """Files and processes that are not ours announce nothing: they have to be looked at."""
    while not true():  # noqa: ASYNC110
        await asyncio.sleep(0.01)


def written(path: Path) -> bool:
    return path.exists() and bool(path.read_text().strip())


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


async def test_the_policy_never_asks_nobody(session: Session) -> None:
    heard = await session.run({"run": "touch zz"}, {"ask": "Which?", "options": ["a", "b"]}, {"say": "Done."})
    assert heard.asks == []
    assert (session.cwd / "zz").exists()
    assert heard.end.status == "completed"


async def test_an_accepted_command_runs_and_a_declined_one_does_not(session: Session) -> None:
    async def react(native: Native, turn: Turn) -> None:
        if native.ask:
            kind = "accept" if native.ask.detail["command"] == "touch yes" else "decline"
            await turn.answer(native.ask.key, Decision(kind=kind))

    heard = await session.run(
        {"run": "touch yes"}, {"run": "touch no"}, {"say": "Done."}, policy="on-request", react=react
    )
    assert [ask.title for ask in heard.asks] == ["touch yes", "touch no"]
    assert [result.status for result in heard.all(ToolResult)] == ["completed", "declined"]
    assert sorted(path.name for path in session.cwd.iterdir()) == ["yes"]
    assert heard.end.status == "completed"


async def test_a_file_change_is_asked_for_with_its_diff(session: Session) -> None:
    heard = await session.run(
        {"write": "a.md", "text": "one\n"},
        {"say": "Done."},
        policy="on-request",
        react=answering(file_change=Decision(kind="accept")),
    )
    (ask,) = heard.asks
    assert (ask.title, ask.detail["diff"]) == ("a.md", "--- /dev/null\n+++ b/a.md\n@@ -0,0 +1,1 @@\n+one\n")
    assert (session.cwd / "a.md").exists()


async def test_what_was_accepted_for_the_session_is_not_asked_again_in_its_next_run(session: Session) -> None:
    react = answering(command=Decision(kind="accept_for_session"))
    steps = ({"run": "touch 'a,(b)'"}, {"say": "Done."})
    first = await session.run(*steps, policy="on-request", react=react)
    second = await session.run(*steps, policy="on-request", react=react, thread=session.thread_id)
    assert (len(first.asks), len(second.asks)) == (1, 0)
    assert second.end.status == "completed"


async def test_a_cancelled_approval_ends_the_turn(session: Session) -> None:
    react = answering(command=Decision(kind="cancel"))
    heard = await session.run({"run": "touch zz"}, {"say": "Done."}, policy="on-request", react=react)
    assert heard.end.status == "interrupted"
    assert not (session.cwd / "zz").exists()


async def test_a_question_gets_its_answer(session: Session) -> None:
    react = answering(question=Decision(kind="accept", answers={"q1": "blue"}))
    heard = await session.run(
        {"ask": "Which colour?", "options": ["red", "blue"]}, {"say": "Done."}, policy="on-request", react=react
    )
    (ask,) = heard.asks
    assert ask.questions[0]["question"] == "Which colour?"
    assert '"Which colour?"="blue"' in heard.all(ToolResult)[0].output


async def test_an_interrupt_while_claude_asks_withdraws_the_ask(session: Session) -> None:
    async def react(native: Native, turn: Turn) -> None:
        if native.ask:
            await turn.interrupt()

    heard = await session.run({"run": "touch zz"}, {"say": "Done."}, policy="on-request", react=react)
    assert [native.answered for native in heard.natives if native.answered] == [heard.asks[0].key]
    assert heard.end.status == "interrupted"


LONG = "import os, time; open('pid', 'w').write(str(os.getpid())); time.sleep(120)"


async def test_an_interrupt_stops_the_command_that_runs(session: Session) -> None:
    pid = session.cwd / "pid"
    react = once_a_tool_runs(lambda turn: turn.interrupt(), pid)
    heard = await session.run({"run": f'python3 -c "{LONG}"'}, {"say": "Done."}, react=react)
    assert heard.end.status == "interrupted"
    assert [result.status for result in heard.all(ToolResult)] == ["interrupted"]
    await until(lambda: start_time(int(pid.read_text())) is None)


async def test_an_interrupted_message_ends_as_far_as_it_came(session: Session) -> None:
    asked = False

    async def react(native: Native, turn: Turn) -> None:
        nonlocal asked
        if not asked and any(isinstance(each, AssistantDelta) for each in native.neutral):
            asked = True
            await turn.interrupt()

    heard = await session.run({"tokens": 2000, "delay_ms": 5}, react=react)
    assert heard.end.status == "interrupted"
    (final,) = heard.all(AssistantFinal)
    assert "".join(each.text_delta for each in heard.all(AssistantDelta)) == final.text


async def test_a_kill_leaves_no_process_even_of_commands_that_left_the_group(session: Session) -> None:
    pid = session.cwd / "pid"
    agent: list[int | None] = []

    async def kill(turn: Turn) -> None:
        agent.append(turn.process_group)
        await turn.close(kill=True)

    heard = await session.run(
        {"run": f'setsid python3 -c "{LONG}" & wait'}, {"say": "Done."}, react=once_a_tool_runs(kill, pid)
    )
    assert heard.end.status == "interrupted"
    assert agent[0] is not None
    assert start_time(agent[0]) is None
    assert start_time(int(pid.read_text())) is None


async def test_a_background_command_ends_with_its_run(session: Session) -> None:
    pid = session.cwd / "pid"
    heard = await session.run(
        {"run": f'nohup setsid python3 -c "{LONG}" > /dev/null 2>&1 & while [ ! -s pid ]; do :; done'},
        {"say": "Done."},
    )
    assert heard.end.status == "completed"
    assert start_time(int(pid.read_text())) is None


async def test_a_command_in_claudes_background_ends_with_its_run_and_wakes_no_further_turn(session: Session) -> None:
    waiting = "echo $$ > pid; while [ ! -e never ]; do sleep 0.05; done"
    heard = await session.run(
        {"tool": "Bash", "input": {"command": waiting, "description": "d", "run_in_background": True}},
        {"run": "while [ ! -s pid ]; do sleep 0.01; done"},
        {"say": "It runs behind."},
    )
    assert heard.end.final_text == "It runs behind."
    assert start_time(int((session.cwd / "pid").read_text())) is None
    (transcript,) = session.home.glob(f".claude/projects/*/{session.thread_id}.jsonl")
    said = [line for line in map(json.loads, transcript.read_text().splitlines()) if line["type"] == "assistant"]
    assert said[-1]["message"]["content"] == [{"type": "text", "text": "It runs behind."}]


async def test_a_killed_agent_fails_the_turn_and_its_thread_goes_on_in_a_fresh_process(session: Session) -> None:
    pid = session.cwd / "pid"

    async def sigkill(turn: Turn) -> None:
        assert turn.process_group is not None
        os.kill(turn.process_group, signal.SIGKILL)

    with pytest.raises(AgentFailed, match="in the middle of the turn"):
        await session.run(
            {"say": "First words."},
            {"run": f'python3 -c "{LONG}"'},
            prompt="",
            react=once_a_tool_runs(sigkill, pid),
        )
    assert start_time(int(pid.read_text())) is None
    heard = await session.run({"say": "Carried on."}, thread=session.thread_id)
    assert heard.end.final_text == "Carried on."
    assert [native.thread for native in heard.natives if native.thread] == [session.thread_id]
    (transcript,) = session.home.glob(f".claude/projects/*/{session.thread_id}.jsonl")
    assert "First words." in transcript.read_text()


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
    (transcript,) = session.home.glob(f".claude/projects/*/{session.thread_id}.jsonl")
    assert "And mind the gap." in transcript.read_text()
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


async def test_closing_the_agent_ends_its_turns(session: Session) -> None:
    pid = session.cwd / "pid"

    async def close(turn: Turn) -> None:
        await session.agent.close()

    heard = await session.run({"run": f'python3 -c "{LONG}"'}, {"say": "Done."}, react=once_a_tool_runs(close, pid))
    assert heard.end.status == "interrupted"
    assert start_time(int(pid.read_text())) is None

"""Interrupted, killed or closed: turns of the real Claude end, and no process of theirs goes on."""

import json
import os
import signal

import pytest

from runyard_events.catalogue import AssistantDelta, AssistantFinal, ToolResult
from runyard_runner.adapter import AgentFailed, Native, Turn
from runyard_runner.processes import start_time

from .turns import Session, once_a_tool_runs, session, until

__all__ = ["session"]

pytestmark = [pytest.mark.agents, pytest.mark.timeout(60)]

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
    said = [line for line in map(json.loads, session.transcript.splitlines()) if line["type"] == "assistant"]
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
    assert "First words." in session.transcript


async def test_closing_the_agent_ends_its_turns(session: Session) -> None:
    pid = session.cwd / "pid"

    async def close(turn: Turn) -> None:
        await session.agent.close()

    heard = await session.run({"run": f'python3 -c "{LONG}"'}, {"say": "Done."}, react=once_a_tool_runs(close, pid))
    assert heard.end.status == "interrupted"
    assert start_time(int(pid.read_text())) is None

"""The real Codex and the real Claude do real work with the scripted model, through the whole gateway."""

from collections.abc import AsyncGenerator, Callable
from itertools import chain, repeat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_asyncio
from claude_agent_sdk import AssistantMessage, ResultMessage, TextBlock, ThinkingBlock, ToolUseBlock

from runyard_llm_gateway.providers.scripted import provider

from .conftest import Gateway
from .real_agents import Codex, claude, items, methods

pytestmark = pytest.mark.agents

NEWCOMER = "List the files and add a NOTES.md that says what this is"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "repo"
    place.mkdir()
    (place / "README.md").write_text("# Kettle\n\nBoils water.\n")
    (place / "kettle.py").write_text("print('hot')\n")
    return place


@pytest.fixture
def codex_home(tmp_path: Path) -> Path:
    home = tmp_path / "codex-home"
    home.mkdir()
    return home


@pytest.fixture
def model() -> str:
    return "gpt-5.5"


@pytest_asyncio.fixture
async def codex(offline: Gateway, codex_home: Path, model: str) -> AsyncGenerator[Codex]:
    agent = await Codex.start(offline.url, offline.token, codex_home, model)
    yield agent
    await agent.stop()


async def ask_claude(offline: Gateway, folder: Path, prompt: str, *, bypass: bool = True) -> list[Any]:
    home = folder.parent / "claude-home"
    return await claude(offline.url, offline.token, folder, home, prompt, bypass=bypass)


def uses(messages: list[Any]) -> list[str]:
    blocks = [block for message in messages if isinstance(message, AssistantMessage) for block in message.content]
    return [block.name for block in blocks if isinstance(block, ToolUseBlock)]


def words(messages: list[Any]) -> str:
    blocks = [block for message in messages if isinstance(message, AssistantMessage) for block in message.content]
    return " ".join(block.text for block in blocks if isinstance(block, TextBlock))


def result(messages: list[Any]) -> ResultMessage:
    assert isinstance(messages[-1], ResultMessage)
    return messages[-1]


def said_what_it_is(folder: Path, text: str) -> None:
    assert "scripted offline model" in text
    notes = (folder / "NOTES.md").read_text()
    assert "Kettle" in notes
    assert "- `kettle.py`" in notes


@pytest.mark.parametrize(
    "model",
    [
        pytest.param("my-own-model", id="tools as functions"),
        pytest.param("gpt-5.5", id="a tool for patches"),
        pytest.param("gpt-6.1-sol", id="tools in JavaScript"),
    ],
)
async def test_codex_lists_the_files_and_adds_the_notes(codex: Codex, offline: Gateway, folder: Path) -> None:
    messages = await codex.turn(await codex.thread(folder), NEWCOMER)
    assert messages[-1]["params"]["turn"]["status"] == "completed"
    said_what_it_is(folder, " ".join(item["text"] for item in items(messages, "agentMessage")))
    assert [item["exitCode"] for item in items(messages, "commandExecution")] == [0, 0]
    assert len(items(messages, "fileChange")) == 1, methods(messages)
    assert {"item/agentMessage/delta", "turn/diff/updated", "thread/tokenUsage/updated"} <= methods(messages)
    events = [stored.event for stored in await offline.events(4)]
    assert [event.seq for event in events] == [1, 2, 3, 4]
    assert {event.payload.status for event in events} == {"ok"}
    assert all(event.payload.input_tokens > event.payload.cached_input_tokens for event in events)


async def test_claude_lists_the_files_and_adds_the_notes(offline: Gateway, folder: Path) -> None:
    messages = await ask_claude(offline, folder, NEWCOMER)
    assert not result(messages).is_error
    said_what_it_is(folder, words(messages))
    assert uses(messages) == ["Bash", "Bash", "Write"]
    events = [stored.event for stored in await offline.events(4)]
    assert {event.payload.api for event in events} == {"messages"}
    assert {event.payload.cost_usd for event in events} == {0.0}


async def test_codex_thinks_plans_runs_and_edits(codex: Codex, folder: Path) -> None:
    messages = await codex.turn(await codex.thread(folder), "[[script: everything]]")
    assert messages[-1]["params"]["turn"]["status"] == "completed"
    assert (folder / "scripted.md").read_text() == "# Scripted\n\nsecond line\n"
    assert {"item/reasoning/summaryTextDelta", "turn/plan/updated"} <= methods(messages)
    assert [item["exitCode"] for item in items(messages, "commandExecution")] == [0, 3]
    assert [item["changes"][0]["kind"]["type"] for item in items(messages, "fileChange")] == ["add", "update"]


async def test_claude_thinks_plans_runs_and_edits(offline: Gateway, folder: Path) -> None:
    messages = await ask_claude(offline, folder, "[[script: everything]]")
    assert not result(messages).is_error
    assert (folder / "scripted.md").read_text() == "# Scripted\n\nsecond line\n"
    used = [name for name in uses(messages) if name != "ToolSearch"]
    assert used == ["TodoWrite", "Bash", "Write", "Edit", "Bash", "TodoWrite"]
    assert any(isinstance(b, ThinkingBlock) for m in messages if isinstance(m, AssistantMessage) for b in m.content)


async def test_codex_asks_for_approval_and_puts_a_question(codex: Codex, folder: Path) -> None:
    thread = await codex.thread(folder, policy="on-request", sandbox="workspace-write")
    await codex.turn(thread, "[[script: approval]]")
    messages = await codex.turn(thread, "[[script: question]]")
    assert codex.asked == ["item/commandExecution/requestApproval", "item/tool/requestUserInput"]
    assert items(messages, "agentMessage")[-1]["text"] == "Thank you for the answer."


async def test_claude_asks_for_approval_and_puts_a_question(offline: Gateway, folder: Path) -> None:
    approval = await ask_claude(offline, folder, "[[script: approval]]", bypass=False)
    assert "Approval answered." in words(approval)
    question = await ask_claude(offline, folder, "[[script: question]]", bypass=False)
    assert uses(question) == ["AskUserQuestion"]
    assert "Thank you for the answer." in words(question)


async def test_codex_waits_for_its_sub_agent(codex: Codex, folder: Path) -> None:
    messages = await codex.turn(await codex.thread(folder), "[[script: subagent]]")
    assert [item["tool"] for item in items(messages, "collabAgentToolCall")] == ["spawnAgent", "wait"]
    assert "The sub-agent is done." in [item["text"] for item in items(messages, "agentMessage")]


async def test_claude_waits_for_its_sub_agent(offline: Gateway, folder: Path) -> None:
    messages = await ask_claude(offline, folder, "[[script: subagent]]")
    assert uses(messages) == ["Agent", "Bash"]
    assert not result(messages).is_error


@pytest.fixture
def failing_once(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Makes a script whose step is due for the model's first answer only, however long an agent takes to start."""
    moments = chain([0.0], repeat(2.0))
    monkeypatch.setattr(provider, "time", SimpleNamespace(time=lambda: next(moments)))
    return lambda step: f'[[script: {{"steps": [{step[:-1]}, "until": 1}}, {{"say": "Recovered."}}]}}]]'


@pytest.mark.parametrize("step", ['{"error": 500}', '{"cut": true}'])
async def test_codex_tries_again_after_an_error_or_a_broken_stream(
    codex: Codex, offline: Gateway, folder: Path, step: str, failing_once: Callable[[str], str]
) -> None:
    messages = await codex.turn(await codex.thread(folder), failing_once(step))
    assert messages[-1]["params"]["turn"]["status"] == "completed"
    assert items(messages, "agentMessage")[-1]["text"] == "Recovered."
    assert (await offline.payload()).status == "error"


@pytest.mark.parametrize("step", ['{"error": 529}', '{"cut": true}'])
async def test_claude_tries_again_after_an_error_or_a_broken_stream(
    offline: Gateway, folder: Path, step: str, failing_once: Callable[[str], str]
) -> None:
    messages = await ask_claude(offline, folder, failing_once(step))
    assert not result(messages).is_error
    assert "Recovered." in words(messages)
    assert (await offline.payload()).status == "error"


async def test_codex_reports_an_error_that_stays(codex: Codex, folder: Path) -> None:
    messages = await codex.turn(await codex.thread(folder), "[[script: error 400]]")
    turn = messages[-1]["params"]["turn"]
    assert turn["status"] == "failed"
    assert "scripted failure" in turn["error"]["message"]


async def test_codex_is_steered_in_the_middle_of_a_script(codex: Codex, folder: Path) -> None:
    thread = await codex.thread(folder)
    messages: list[dict[str, Any]] = []
    async for message in codex.prompt(thread, '[[script: {"steps": [{"run": "sleep 1"}, {"say": "Done."}]}]]'):
        messages.append(message)
        if message.get("method") == "item/started" and message["params"]["item"]["type"] == "commandExecution":
            await codex.steer(thread, message["params"]["turnId"], "and mind the kettle")
    assert "mind the kettle" in items(messages, "agentMessage")[-1]["text"]
    assert items(messages, "agentMessage")[-1]["text"].startswith("Done.")

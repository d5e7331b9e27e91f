"""Turns of the real Claude, offline, against the scripted model, and what was heard of them."""

import asyncio
import json
import os
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest
import pytest_asyncio

from runyard_events.catalogue import ToolCall, ToolResult
from runyard_runner.adapter import AgentStart, ApprovalPolicy, Ask, Native, Turn, TurnEnd
from runyard_runner.environment import agent_environment
from runyard_runner_claude.adapters.agent import ClaudeAgent

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

    @property
    def transcript(self) -> str:
        """What Claude itself keeps of the thread."""
        (path,) = self.home.glob(f".claude/projects/*/{self.thread_id}.jsonl")
        return path.read_text()

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

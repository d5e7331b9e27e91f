"""A turn with a scripted ACP agent in a process of its own: what is asked, refused, lost and stopped."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client
from pydantic import SecretStr

from runyard_runner.adapter import AgentFailed, AgentStart, Decision, Native
from runyard_runner.json_rpc import JsonRpc
from runyard_runner.processes import spawn
from runyard_runner.testbench import KEY, make_bench
from runyard_runner_acp.adapters.talk import Acp, Gemini
from runyard_runner_acp.adapters.turn import AcpTurn
from runyard_runner_acp.settings import Settings

STUB = Path(__file__).parent / "stub_agent.py"


def turn(folder: Path, prompt: str, *, dialect: Acp | None = None, **changes: Any) -> AcpTurn:
    dialect = dialect or Acp()
    values: dict[str, Any] = {
        "run_id": "r",
        "session_id": "s",
        "thread_id": "t",
        "native_thread_id": None,
        "attempt": 1,
        "prompt": prompt,
        "cwd": folder,
        "home": folder,
        "model": None,
        "approval_policy": "on-request",
        "model_base_url": "http://127.0.0.1:1",
        "run_token": "token",
        **changes,
    }

    async def boot(start: AgentStart) -> JsonRpc:
        child = await spawn([sys.executable, str(STUB)], cwd=start.cwd, env={}, folder=folder)
        return JsonRpc(child, dialect.marks)

    async def prepare() -> AsyncIterator[str]:
        yield "prepared"

    return AcpTurn(AgentStart(**values), dialect, prepare=prepare, boot=boot, release=lambda _: None)


class Scripted:
    """The scripted agent, as the run loop has it."""

    name = "opencode"

    async def start(self, start: AgentStart) -> AcpTurn:
        return turn(start.cwd, start.prompt, approval_policy=start.approval_policy)

    async def close(self) -> None:
        """Its turns end their own processes."""


async def heard(one: AcpTurn, decision: Decision | None = None, *, stop: bool = False) -> list[Native]:
    natives: list[Native] = []
    try:
        async for native in one:
            natives.append(native)
            if native.ask is not None and decision is not None:
                await one.answer(native.ask.key, decision)
            if stop and any(payload.TYPE == "ui.message.assistant.delta" for payload in native.neutral):
                await one.interrupt()
    finally:
        await one.close(kill=True)
    return natives


def words(natives: list[Native]) -> str:
    return "".join(getattr(payload, "text_delta", "") for native in natives for payload in native.neutral)


async def test_every_line_is_on_record_in_both_directions(tmp_path: Path) -> None:
    natives = await heard(turn(tmp_path, "hello"))
    sent = [native.raw["method"] for native in natives if native.direction == "sent" and native.raw]
    assert sent == ["initialize", "session/new", "session/prompt"]
    assert [native.thread for native in natives if native.thread] == ["s1"]
    assert natives[-1].end is not None
    assert (natives[-1].end.status, natives[-1].end.final_text) == ("completed", "hello")


async def test_a_permission_waits_for_a_person(tmp_path: Path) -> None:
    assert '"optionId": "yes"' in words(await heard(turn(tmp_path, "ask"), Decision(kind="accept")))


async def test_nobody_is_asked_under_the_policy_never_and_the_agent_hears_no(
    nats_client: Client, tenant: str, tmp_path: Path
) -> None:
    settings = Settings(workspaces_root=tmp_path / "workspaces", agents_root=tmp_path, run_token_key=SecretStr(KEY))
    made = await make_bench(nats_client, Scripted(), settings, tenant=tenant, service="runner-acp")
    events = await made.run("ask", approval_policy="never", runner_type="opencode")
    assert [event.type for event in events if "approval" in event.type] == []
    assert '"optionId": "no"' in events[-1].payload.final_text


async def test_other_requests_of_the_agent_are_refused(tmp_path: Path) -> None:
    assert "not served" in words(await heard(turn(tmp_path, "read")))


async def test_a_thread_that_cannot_be_loaded_is_replaced_and_the_agent_is_told(tmp_path: Path) -> None:
    natives = await heard(turn(tmp_path, "hello", native_thread_id="gone"))
    assert words(natives).startswith("(The earlier conversation")
    assert [native.thread for native in natives if native.thread] == ["s1"]


async def test_gemini_is_told_yes_where_nobody_is_to_be_asked_and_waits_for_a_person_elsewhere(tmp_path: Path) -> None:
    natives = await heard(turn(tmp_path, "ask", dialect=Gemini(), approval_policy="never"))
    assert [native for native in natives if native.ask] == []
    assert '"optionId": "yes"' in words(natives)
    declined = await heard(turn(tmp_path, "ask", dialect=Gemini()), Decision(kind="decline"))
    assert [native.ask.kind for native in declined if native.ask] == ["command"]
    assert '"optionId": "no"' in words(declined)


async def test_what_gemini_tells_of_the_past_after_its_session_is_open_belongs_to_no_turn(tmp_path: Path) -> None:
    natives = await heard(turn(tmp_path, "hello", dialect=Gemini(), native_thread_id="told late"))
    sent = [native.raw["method"] for native in natives if native.direction == "sent" and native.raw]
    asked = ["session/set_mode"] * 3  # two with something of the past before the answer, and one without
    assert sent == ["initialize", "authenticate", "session/load", *asked, "session/prompt"]
    assert words(natives) == "hello"
    assert "past 3" in str([native.raw for native in natives]), "it is on record all the same"


async def test_an_interrupted_turn_ends_as_interrupted(tmp_path: Path) -> None:
    end = (await heard(turn(tmp_path, "wait"), stop=True))[-1].end
    assert end is not None
    assert end.status == "interrupted"


async def test_an_agent_that_dies_fails_the_turn(tmp_path: Path) -> None:
    with pytest.raises(AgentFailed, match="has ended"):
        await heard(turn(tmp_path, "die"))

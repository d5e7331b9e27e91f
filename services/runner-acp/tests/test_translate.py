"""Every native line that was seen of these agents, and what it becomes."""

import json
from pathlib import Path
from typing import Any

import pytest

from runyard_events.catalogue import (
    AssistantDelta,
    AssistantFinal,
    FileChanged,
    PlanStep,
    PlanUpdated,
    ReasoningDelta,
    ToolCall,
    ToolOutputDelta,
    ToolResult,
)
from runyard_runner.adapter import Decision, DecisionKind
from runyard_runner_acp.acp import AcpTranslator
from runyard_runner_acp.droid import DroidTranslator

SAMPLES = Path(__file__).parent / "samples"
REPO = "/workspaces/w1/repo"


def samples(name: str) -> dict[str, Any]:
    return json.loads((SAMPLES / f"{name}.json").read_text())


OPENCODE, GEMINI, DROID_ACP, DROID = (
    samples(name) for name in ("acp_opencode", "acp_gemini", "acp_droid", "droid_jsonrpc")
)
SPOKEN = {
    f"{agent}:{kind}": line
    for agent, lines in (("opencode", OPENCODE), ("gemini", GEMINI), ("droid", DROID_ACP))
    for kind, line in lines.items()
}


def prompted(line: dict[str, Any]) -> dict[str, Any]:
    """The answer to the prompt bears the prompt's id."""
    return {**line, "id": "prompt"}


def droid(**body: Any) -> dict[str, Any]:
    return {"method": "droid.session_notification", "params": {"notification": body}}


def said(translator: AcpTranslator | DroidTranslator, *lines: dict[str, Any]) -> list[Any]:
    return [payload for line in lines for payload in translator.neutral(line)]


@pytest.mark.parametrize("line", SPOKEN.values(), ids=SPOKEN)
def test_no_line_of_acp_is_too_much(line: dict[str, Any]) -> None:
    translator = AcpTranslator(REPO)
    translator.neutral(line)
    translator.ask(line)
    assert translator.end(line) is None


@pytest.mark.parametrize("line", DROID.values(), ids=DROID)
def test_no_line_of_droid_is_too_much(line: dict[str, Any]) -> None:
    translator = DroidTranslator(REPO)
    translator.neutral(line)
    assert translator.ask(line) is None


@pytest.mark.parametrize("line", samples("droid_streamjson").values(), ids=samples("droid_streamjson"))
def test_droids_other_protocol_means_nothing(line: dict[str, Any]) -> None:
    assert DroidTranslator(REPO).neutral(line) == ()


def test_chunks_are_joined_until_something_else_comes() -> None:
    chunk = OPENCODE["agent_message_chunk"]
    id_ = chunk["params"]["update"]["messageId"]
    translator = AcpTranslator(REPO)
    delta = AssistantDelta(text_delta="Let me list ", message_id=id_)
    assert said(translator, chunk, chunk) == [delta, delta]
    ended = said(translator, OPENCODE["tool_call:pending"])
    assert ended == [AssistantFinal(text="Let me list Let me list ", message_id=id_)]


def test_thoughts_end_before_the_answer_begins() -> None:
    got = said(AcpTranslator(REPO), OPENCODE["agent_thought_chunk"], OPENCODE["agent_message_chunk"])
    assert [one.TYPE for one in got] == [
        "ui.reasoning.delta",
        "ui.reasoning.final",
        "ui.message.assistant.delta",
    ]


def test_a_command_is_told_once_its_arguments_are_known_and_its_output_as_it_grows() -> None:
    kinds = ("pending", "in_progress", "in_progress:content", "in_progress:content", "completed:content")
    names = [f"tool_call:{kinds[0]}", *(f"tool_call_update:{kind}" for kind in kinds[1:])]
    call, grown, result = said(AcpTranslator(REPO), *(OPENCODE[name] for name in names))
    command = "ls -la && echo listing-done"
    key = call.call_id
    assert call == ToolCall(tool_name="bash", input={"command": command}, call_id=key, category="command")
    assert isinstance(grown, ToolOutputDelta)
    assert isinstance(result, ToolResult)
    assert grown.text_delta == result.output
    assert (result.status, result.exit_code) == ("completed", 0)


def test_a_diff_becomes_a_changed_file() -> None:
    got = said(AcpTranslator(REPO), GEMINI["tool_call_update:completed:diff"])
    change = next(one for one in got if isinstance(one, FileChanged))
    assert (change.path, change.change) == ("notes.md", "add")
    assert "+first line" in (change.diff or "")


def test_a_change_of_a_part_of_a_file_is_an_update() -> None:
    got = said(AcpTranslator(REPO), OPENCODE["tool_call_update:completed:content+diff"])
    change = next(one for one in got if isinstance(one, FileChanged))
    assert (change.path, change.change) == ("notes.md", "update")
    assert "-first line\n+second line\n" in (change.diff or "")


def test_what_was_shown_before_a_command_ran_is_not_its_output() -> None:
    about: dict[str, Any] = {"type": "content", "content": {"type": "text", "text": "[in /workspaces/w1/repo]"}}
    call = {"toolCallId": "run_shell_command__1", "title": "true", "kind": "execute"}
    begun: dict[str, Any] = {**call, "sessionUpdate": "tool_call", "status": "in_progress", "content": [about]}
    ended: dict[str, Any] = {**call, "sessionUpdate": "tool_call_update", "status": "completed", "content": []}
    lines = ({"method": "session/update", "params": {"update": update}} for update in (begun, ended))
    told, result = said(AcpTranslator(REPO), *lines)
    assert (told.tool_name, told.input) == ("run_shell_command", {"command": "true"})
    assert (result.status, result.output) == ("completed", "")


def test_a_failed_call_failed() -> None:
    result = said(AcpTranslator(REPO), OPENCODE["tool_call_update:failed:content"])[-1]
    assert (result.status, result.output) == ("failed", "The user rejected permission to use this specific tool call.")


def test_a_plan_is_told() -> None:
    steps = (
        PlanStep(text="Create notes.md", status="in_progress"),
        PlanStep(text="Edit notes.md", status="pending"),
    )
    assert said(AcpTranslator(REPO), DROID_ACP["plan"]) == [PlanUpdated(steps=steps)]


def test_the_answer_to_the_prompt_ends_the_turn_with_the_last_words_and_all_tokens() -> None:
    translator = AcpTranslator(REPO)
    last = prompted(OPENCODE["response:_meta,stopReason,usage"])
    said(translator, OPENCODE["agent_message_chunk"], last)
    end = translator.end(last)
    assert end is not None
    assert (end.status, end.final_text) == ("completed", "Let me list ")
    assert end.usage is not None
    assert (end.usage.input_tokens, end.usage.cached_input_tokens) == (2010, 800)


def test_gemini_counts_tokens_elsewhere() -> None:
    end = AcpTranslator(REPO).end(prompted(GEMINI["response:_meta,stopReason"]))
    assert end is not None
    assert end.usage is not None
    assert (end.usage.input_tokens, end.usage.output_tokens) == (3300, 150)


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ({"result": {"stopReason": "cancelled"}}, "interrupted"),
        ({"result": {"stopReason": "refusal"}}, "error"),
        ({"result": {"stopReason": "max_tokens"}}, "error"),
        ({"error": {"code": -32603, "message": "Internal error", "data": {"details": "why"}}}, "error"),
    ],
)
def test_stop_reasons_say_how_it_ended(line: dict[str, Any], status: str) -> None:
    end = AcpTranslator(REPO).end(prompted(line))
    assert end is not None
    assert end.status == status


PERMISSIONS = {"opencode": OPENCODE, "gemini": GEMINI, "droid": DROID_ACP}


@pytest.mark.parametrize("agent", PERMISSIONS)
@pytest.mark.parametrize(
    ("decision", "native"),
    [("accept", "allow_once"), ("accept_for_session", "allow_always"), ("decline", "reject_once"), ("cancel", None)],
)
def test_a_permission_is_answered_with_what_was_offered(agent: str, decision: DecisionKind, native: str | None) -> None:
    request = PERMISSIONS[agent]["request:session/request_permission"]
    translator = AcpTranslator(REPO)
    ask = translator.ask(request)
    assert ask is not None
    assert (ask.kind, ask.options) == ("command", ("accept", "accept_for_session", "decline", "cancel"))
    outcome = translator.response(request, Decision(kind=decision))["outcome"]
    offered = {one["optionId"]: one["kind"] for one in request["params"]["options"]}
    assert offered.get(outcome.get("optionId")) == native
    assert outcome["outcome"] == ("selected" if native else "cancelled")


def test_droids_words_are_joined_per_block() -> None:
    translator = DroidTranslator(REPO)
    got = said(translator, DROID["assistant_text_delta"], DROID["assistant_text_complete"])
    key = "8f112b80-ec2b-4949-9962-3a006d6d70f8.1"
    assert got == [
        AssistantDelta(text_delta="Let me list ", message_id=key),
        AssistantFinal(text="Let me list ", message_id=key),
    ]
    assert isinstance(said(translator, DROID["thinking_text_delta"])[0], ReasoningDelta)


def test_droids_command_has_its_exit_code_and_live_output() -> None:
    use: dict[str, Any] = {"id": "c1", "name": "Execute", "input": {}}
    full = {**use, "input": {"command": "false"}}
    got = said(
        DroidTranslator(REPO),
        droid(type="tool_call", toolUse=use),
        droid(type="tool_call", toolUse=full),
        droid(type="tool_execution_phase_changed", toolUseId="c1", toolName="Execute", phase="queued"),
        droid(type="tool_progress_update", toolUseId="c1", update={"fullOutput": "a\n"}),
        droid(type="tool_progress_update", toolUseId="c1", update={"fullOutput": "a\nb\n"}),
        droid(type="tool_result", toolUseId="c1", content="a\nb\n\n\n[Process exited with code 1]", isError=False),
    )
    assert got == [
        ToolCall(tool_name="Execute", input={"command": "false"}, call_id="c1", category="command"),
        ToolOutputDelta(text_delta="a\n", call_id="c1"),
        ToolOutputDelta(text_delta="b\n", call_id="c1"),
        ToolResult(tool_name="Execute", output="a\nb\n", call_id="c1", status="failed", exit_code=1),
    ]


@pytest.mark.parametrize(
    ("name", "arguments", "change"),
    [
        ("Create", {"file_path": f"{REPO}/a.md", "content": "one\n"}, "add"),
        ("Edit", {"file_path": f"{REPO}/a.md", "old_str": "one", "new_str": "two"}, "update"),
        ("ApplyPatch", {"input": "*** Begin Patch\n*** Delete File: a.md\n*** End Patch\n"}, "delete"),
    ],
)
def test_droids_file_tools_change_files(name: str, arguments: dict[str, str], change: str) -> None:
    use = {"id": "c1", "name": name, "input": arguments}
    result = droid(type="tool_result", toolUseId="c1", content="ok", isError=False)
    got = said(DroidTranslator(REPO), droid(type="tool_call", toolUse=use), result)
    assert [(one.path, one.change) for one in got if isinstance(one, FileChanged)] == [("a.md", change)]


def test_droids_turn_ends_when_it_says_so() -> None:
    end = DroidTranslator(REPO).end(DROID["agent_turn_completed"])
    assert end is not None
    assert end.status == "completed"
    assert end.usage is not None
    assert (end.usage.input_tokens, end.usage.cached_input_tokens, end.usage.output_tokens) == (4300, 3200, 200)


@pytest.mark.parametrize(
    ("decision", "native"),
    [
        ("accept", "proceed_once"),
        ("accept_for_session", "proceed_always"),
        ("decline", "cancel"),
        ("cancel", "cancel"),
    ],
)
def test_droids_permission_is_answered_with_what_was_offered(decision: DecisionKind, native: str) -> None:
    use = {"id": "c1", "name": "Execute", "input": {"command": "ls"}}
    values = [{"value": one} for one in ("proceed_once", "proceed_always", "cancel")]
    request = {
        "id": "q",
        "method": "droid.request_permission",
        "params": {"toolUses": [{"toolUse": use}], "options": values},
    }
    translator = DroidTranslator(REPO)
    ask = translator.ask(request)
    assert ask is not None
    assert (ask.kind, ask.title, ask.detail) == ("command", "ls", {"command": "ls"})
    assert translator.response(request, Decision(kind=decision)) == {"selectedOption": native}

"""Every native line that was seen of Codex, and what it becomes."""

import json
from pathlib import Path
from typing import Any

import pytest

from runyard_events.catalogue import (
    AssistantDelta,
    AssistantFinal,
    DiffUpdated,
    FileChanged,
    Notice,
    PlanStep,
    PlanUpdated,
    ReasoningDelta,
    ReasoningFinal,
    Retrying,
    SubagentEnded,
    SubagentStarted,
    ToolCall,
    ToolOutputDelta,
    ToolResult,
    UiError,
    UsageUpdated,
)
from runyard_runner.adapter import Decision, DecisionKind
from runyard_runner_codex.asks import ask_of, response_to
from runyard_runner_codex.items import plain_command, unified, within
from runyard_runner_codex.translate import Translator

SAMPLES = Path(__file__).parent / "samples"
ITEMS: dict[str, dict[str, Any]] = json.loads((SAMPLES / "codex_items.json").read_text())
NOTIFICATIONS: dict[str, Any] = json.loads((SAMPLES / "codex_notifications.json").read_text())
REQUESTS: dict[str, Any] = json.loads((SAMPLES / "codex_server_requests.json").read_text())
PARENT = "01a1fb6b-46b2-7832-afde-8a172866990b"
REPO = "/workspaces/w1/repo"


def translator_for(message: dict[str, Any]) -> Translator:
    return Translator(message["params"].get("threadId", PARENT), REPO)


def neutral(message: dict[str, Any]) -> list[Any]:
    return list(translator_for(message).neutral(message))


def life(name: str, *states: str) -> list[Any]:
    """What an item becomes from its beginning to its end."""
    messages = [ITEMS[name][state] for state in states]
    translator = translator_for(messages[0])
    return [payload for message in messages for payload in translator.neutral(message)]


@pytest.mark.parametrize("message", [*NOTIFICATIONS.values()], ids=[*NOTIFICATIONS])
def test_no_notification_is_too_much(message: dict[str, Any]) -> None:
    neutral(message)


@pytest.mark.parametrize("name", [*ITEMS])
def test_no_item_is_too_much(name: str) -> None:
    for message in ITEMS[name].values():
        neutral(message)


def test_a_message_streams_and_ends() -> None:
    item = "msg_970bb59518694ce1b7e71b09"
    assert neutral(NOTIFICATIONS["item/agentMessage/delta"]) == [
        AssistantDelta(text_delta="Sub-agent fi", message_id=item)
    ]
    assert life("agentMessage", "started", "completed") == [AssistantFinal(text="Sub-agent finished.", message_id=item)]


def test_reasoning_is_told_once_though_codex_tells_it_twice() -> None:
    item = "rs_4cdcf7ad0b134df0af059ffa"
    summary = NOTIFICATIONS["item/reasoning/summaryTextDelta"]
    content = NOTIFICATIONS["item/reasoning/textDelta"]
    assert neutral(content) == [ReasoningDelta(text_delta="raw: I shoul", item_id=item)]
    translator = translator_for(summary)
    assert translator.neutral(summary) == (ReasoningDelta(text_delta="I should loo", item_id=item),)
    assert translator.neutral(content) == ()
    assert life("reasoning", "started", "completed") == [
        ReasoningFinal(text="I should look at the files first.", item_id=item)
    ]


def test_a_command_is_a_call_with_live_output_and_a_result() -> None:
    call, result = life("commandExecution", "started:inProgress", "completed:completed")
    assert call == ToolCall(
        tool_name="shell",
        input={"command": "ls -la && echo listing-done", "cwd": REPO},
        call_id="call_814879e5b09747c69289e993",
        category="command",
    )
    assert (result.status, result.exit_code, result.duration_ms) == ("completed", 0, 357)
    assert result.output.endswith("listing-done\n")
    (live,) = neutral(NOTIFICATIONS["item/commandExecution/outputDelta"])
    assert isinstance(live, ToolOutputDelta)
    assert live.call_id == call.call_id


def test_a_declined_command_that_was_never_begun_has_its_call_all_the_same() -> None:
    call, result = life("commandExecution", "completed:declined")
    assert call.call_id == result.call_id
    assert (result.status, result.output) == ("declined", "")


def test_a_failed_command_keeps_what_it_printed() -> None:
    *_, result = life("commandExecution", "completed:failed")
    assert (result.status, result.exit_code, result.output) == ("failed", -1, "begin\n")


def test_a_patch_is_a_call_a_changed_file_and_a_result() -> None:
    call, changed, result = life("fileChange", "started:inProgress", "completed:completed")
    diff = "--- /dev/null\n+++ notes.md\n@@ -0,0 +1,3 @@\n+# Notes\n+\n+first line\n"
    assert call.input == {"changes": [{"path": "notes.md", "change": "add", "diff": diff}]}
    assert changed == FileChanged(path="notes.md", change="add", diff=diff, call_id=call.call_id)
    assert result == ToolResult(tool_name="apply_patch", output=["notes.md"], call_id=call.call_id)


def test_diffs_of_every_kind_of_change_are_unified() -> None:
    update = {"path": "a", "kind": {"type": "update", "move_path": "b"}, "diff": "@@ -1 +1 @@\n-x\n+y\n"}
    assert unified(update) == "--- a\n+++ b\n@@ -1 +1 @@\n-x\n+y\n"
    delete = {"path": "a", "kind": {"type": "delete"}, "diff": "x\ny\n"}
    assert unified(delete) == "--- a\n+++ /dev/null\n@@ -1,2 +0,0 @@\n-x\n-y\n"


def test_other_tools_have_calls_and_results_too() -> None:
    call, result = life("mcpToolCall", "started:inProgress", "completed:completed")
    assert (call.tool_name, call.category, call.input) == ("probe.add", "mcp", {"a": 2, "b": 3})
    assert result.output["structuredContent"] == {"result": 5}
    call, result = life("dynamicToolCall", "started:inProgress", "completed:completed")
    assert (call.tool_name, result.output[0]["text"]) == ("platform_add", "5 from client")


def test_a_sub_agent_begins_works_and_ends_without_mixing_its_words_in() -> None:
    translator = Translator(PARENT, REPO)
    spawned = ITEMS["collabAgentToolCall"]
    translator.neutral(spawned["started:inProgress"])
    result, started = translator.neutral(spawned["completed:completed"])
    child = "01a1fb6b-4776-7862-8781-70b96856a32f"
    assert isinstance(result, ToolResult)
    assert started == SubagentStarted(subagent_id=child, description="SCN=shell please list", call_id=result.call_id)
    (call,) = translator.neutral(ITEMS["commandExecution"]["started:inProgress"])
    assert isinstance(call, ToolCall)
    assert call.parent_call_id == result.call_id
    assert translator.neutral(NOTIFICATIONS["item/reasoning/summaryTextDelta"]) == ()
    words = of_thread(ITEMS["agentMessage"]["completed"], child)
    assert translator.neutral(words) == ()
    end = of_thread(NOTIFICATIONS["turn/completed"], child)
    assert translator.neutral(end) == (
        SubagentEnded(subagent_id=child, status="completed", summary="Sub-agent finished."),
    )
    assert translator.end(end) is None


def of_thread(message: dict[str, Any], thread: str) -> dict[str, Any]:
    return {**message, "params": {**message["params"], "threadId": thread}}


def test_the_plan_and_the_diff_are_told() -> None:
    assert neutral(NOTIFICATIONS["turn/plan/updated"]) == [
        PlanUpdated(
            steps=(
                PlanStep(text="Create notes.md", status="in_progress"),
                PlanStep(text="Edit notes.md", status="pending"),
            ),
            explanation="the plan",
        )
    ]
    (diff,) = neutral(NOTIFICATIONS["turn/diff/updated"])
    assert isinstance(diff, DiffUpdated)
    assert diff.diff.startswith("diff --git a/notes.md")


def test_usage_adds_up_over_the_turn() -> None:
    message = NOTIFICATIONS["thread/tokenUsage/updated"]
    translator = translator_for(message)
    translator.neutral(message)
    (used,) = translator.neutral(message)
    assert used == UsageUpdated(
        scope="turn",
        input_tokens=2000,
        output_tokens=100,
        cached_input_tokens=1600,
        reasoning_tokens=40,
        context_window=258400,
    )
    assert translator.usage is not None
    assert translator.usage.output_tokens == 100


def test_a_retry_is_no_error_and_an_error_is() -> None:
    message = NOTIFICATIONS["error"]
    (retry,) = neutral(message)
    assert isinstance(retry, Retrying)
    assert retry.attempt == 1
    assert "401 Unauthorized" in retry.message
    final = {**message, "params": {**message["params"], "willRetry": False}}
    (error,) = neutral(final)
    assert isinstance(error, UiError)
    assert error.code == "responseStreamDisconnected"


def test_warnings_are_notices_but_not_those_about_our_own_setup() -> None:
    message = NOTIFICATIONS["warning"]
    assert neutral(message) == []
    other = {**message, "params": {**message["params"], "message": "disk is slow"}}
    assert neutral(other) == [Notice(level="warning", message="disk is slow")]


def test_the_turn_ends_as_it_ended() -> None:
    message = NOTIFICATIONS["turn/completed"]
    translator = translator_for(message)
    translator.neutral(ITEMS["agentMessage"]["completed"])
    end = translator.end(message)
    assert end is not None
    assert (end.status, end.final_text) == ("completed", "Sub-agent finished.")
    ends = {
        "interrupted": ("interrupted", None, None),
        "failed": ("error", "model_error", "no key"),
    }
    for status, expected in ends.items():
        turn = {"id": "t", "status": status, "error": {"message": "no key", "codexErrorInfo": "unauthorized"}}
        found = translator.end({**message, "params": {**message["params"], "turn": turn}})
        assert found is not None
        assert (found.status, found.reason, found.message) == expected


ASKS = [
    ("item/commandExecution/requestApproval", "command"),
    ("item/fileChange/requestApproval", "file_change"),
    ("item/tool/requestUserInput", "question"),
    ("mcpServer/elicitation/request", "tool"),
]


@pytest.mark.parametrize(("method", "kind"), ASKS)
def test_every_request_to_a_person_is_an_ask(method: str, kind: str) -> None:
    request = REQUESTS[method]
    ask = ask_of(request, translator_for(request))
    assert ask is not None
    assert (ask.key, ask.kind) == ("0", kind)


def test_a_file_change_is_asked_with_its_changes() -> None:
    request = REQUESTS["item/fileChange/requestApproval"]
    translator = translator_for(request)
    translator.neutral(ITEMS["fileChange"]["started:inProgress"])
    ask = ask_of(request, translator)
    assert ask is not None
    assert (ask.title, ask.detail["changes"][0]["change"]) == ("notes.md", "add")


def test_the_same_command_asked_again_has_the_same_detail() -> None:
    request = REQUESTS["item/commandExecution/requestApproval"]
    again = {**request, "id": 5, "params": {**request["params"], "itemId": "other", "turnId": "other"}}
    first, second = (ask_of(one, translator_for(one)) for one in (request, again))
    assert first is not None
    assert second is not None
    assert first.detail == second.detail


def test_tools_of_the_client_are_nobodys_business() -> None:
    request = REQUESTS["item/tool/call"]
    assert ask_of(request, translator_for(request)) is None


@pytest.mark.parametrize(
    ("method", "kind", "result"),
    [
        ("item/commandExecution/requestApproval", "accept_for_session", {"decision": "acceptForSession"}),
        ("item/commandExecution/requestApproval", "cancel", {"decision": "cancel"}),
        ("item/fileChange/requestApproval", "decline", {"decision": "decline"}),
        ("mcpServer/elicitation/request", "accept", {"action": "accept", "content": {}}),
        ("mcpServer/elicitation/request", "decline", {"action": "decline"}),
        ("item/tool/requestUserInput", "decline", {"answers": {}}),
    ],
)
def test_answers_are_in_the_words_of_codex(method: str, kind: DecisionKind, result: dict[str, Any]) -> None:
    assert response_to(REQUESTS[method], Decision(kind=kind)) == result


def test_answers_to_questions_are_lists_of_texts() -> None:
    decision = Decision(kind="accept", answers={"q1": "red", "q2": ["a", "b"]})
    expected = {"answers": {"q1": {"answers": ["red"]}, "q2": {"answers": ["a", "b"]}}}
    assert response_to(REQUESTS["item/tool/requestUserInput"], decision) == expected


def test_commands_are_shown_without_their_shell() -> None:
    assert plain_command("/bin/bash -lc 'echo \"a b\"'") == 'echo "a b"'
    assert plain_command("git status --short") == "git status --short"
    assert plain_command("echo 'unbalanced") == "echo 'unbalanced"


def test_paths_are_seen_from_the_working_directory() -> None:
    assert within("/w/a/b.txt", "/w") == "a/b.txt"
    assert within("/etc/passwd", "/w") == "/etc/passwd"

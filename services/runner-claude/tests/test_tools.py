"""Results, file changes and plans of Claude's tools."""

from pathlib import Path
from typing import Any

import pytest

from runyard_runner_claude.tools import category_of, changes, tool_result, unified

CWD = Path("/workspaces/w1/repo")
HUNK = {"oldStart": 1, "oldLines": 2, "newStart": 1, "newLines": 2, "lines": [" one", "-two", "+three"]}


def block(content: Any, *, error: bool = False) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": "t1", "content": content, "is_error": error}


@pytest.mark.parametrize(
    ("tool", "category"),
    [
        ("Bash", "command"),
        ("Write", "file_change"),
        ("Read", "read"),
        ("Grep", "search"),
        ("WebSearch", "web"),
        ("mcp__tracker__list", "mcp"),
        ("Agent", "subagent"),
        ("TodoWrite", "plan"),
        ("Skill", "other"),
    ],
)
def test_tools_have_neutral_categories(tool: str, category: str) -> None:
    assert category_of(tool) == category


def test_a_command_that_ended_well_has_exit_code_0() -> None:
    result = tool_result(block("out"), {}, "Bash")
    assert (result.output, result.status, result.exit_code) == ("out", "completed", 0)


def test_a_failed_command_tells_its_exit_code() -> None:
    result = tool_result(block("Exit code 3\nno such file", error=True), {}, "Bash")
    assert (result.status, result.exit_code) == ("failed", 3)


def test_a_background_command_has_no_exit_code_yet() -> None:
    line = {"tool_use_result": {"backgroundTaskId": "b1"}}
    assert tool_result(block("running"), line, "Bash").exit_code is None


def test_a_tool_that_a_person_refused_is_declined() -> None:
    meta = {"id": "t1", "permission_decision": {"decision": "reject", "source": "user_reject"}}
    assert tool_result(block("no", error=True), {"tool_result_meta": [meta]}, "Bash").status == "declined"


def test_a_tool_that_was_stopped_while_it_ran_is_interrupted() -> None:
    line = {"tool_result_meta": [{"id": "t1", "non_execution_kind": "user-rejected"}]}
    assert tool_result(block("stopped", error=True), line, "Bash").status == "interrupted"


def test_text_blocks_are_joined_and_images_kept_as_blocks() -> None:
    words = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert tool_result(block(words), {}, "Read").output == "a\nb"
    picture = [{"type": "image", "source": {"type": "base64", "data": "aGk="}}]
    assert tool_result(block(picture), {}, "Read").output == picture


def test_a_structured_patch_becomes_a_unified_diff_with_a_path_inside_the_repository() -> None:
    line = {"tool_use_result": {"filePath": f"{CWD}/docs/n.md", "structuredPatch": [HUNK]}}
    (change,) = changes(line, "t1", CWD)
    assert change.model_dump(exclude_defaults=True, by_alias=False) == {
        "path": "docs/n.md",
        "change": "update",
        "diff": "--- a/docs/n.md\n+++ b/docs/n.md\n@@ -1,2 +1,2 @@\n one\n-two\n+three\n",
        "call_id": "t1",
    }


def test_a_created_file_is_added_with_all_its_lines() -> None:
    details: dict[str, Any] = {
        "type": "create",
        "filePath": f"{CWD}/n.md",
        "content": "one\ntwo\n",
        "structuredPatch": [],
    }
    (change,) = changes({"tool_use_result": details}, "t1", CWD)
    fields = change.model_dump(by_alias=False)
    assert (fields["change"], fields["diff"]) == ("add", "--- /dev/null\n+++ b/n.md\n@@ -0,0 +1,2 @@\n+one\n+two\n")


def test_a_file_outside_the_repository_keeps_its_whole_path() -> None:
    line = {"tool_use_result": {"filePath": "/etc/hosts", "structuredPatch": [HUNK]}}
    (change,) = changes(line, "t1", CWD)
    assert change.model_dump(by_alias=False)["path"] == "/etc/hosts"


def test_writing_what_was_there_already_changes_nothing() -> None:
    details: dict[str, Any] = {
        "type": "update",
        "filePath": "a",
        "content": "x",
        "originalFile": "x",
        "structuredPatch": [],
    }
    assert list(changes({"tool_use_result": details}, "t1", CWD)) == []


def test_reading_a_file_changes_nothing() -> None:
    assert list(changes({"tool_use_result": {"type": "text", "file": {"filePath": "a"}}}, "t1", CWD)) == []
    assert list(changes({"tool_use_result": "Error: no"}, "t1", CWD)) == []


def test_todos_become_the_plan() -> None:
    todos = [{"content": "a", "status": "in_progress"}, {"content": "b", "status": "someday"}]
    (plan,) = changes({"tool_use_result": {"newTodos": todos}}, "t1", CWD)
    steps = plan.model_dump(by_alias=False)["steps"]
    assert [(step["text"], step["status"]) for step in steps] == [("a", "in_progress"), ("b", "pending")]


def test_no_hunks_make_no_diff() -> None:
    assert unified("a", [], added=False) == ""

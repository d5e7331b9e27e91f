"""What Claude asks a person, and what the answers become."""

from pathlib import Path
from typing import Any

import pytest

from runyard_runner.adapter import Decision
from runyard_runner_claude.asks import DECLINED, Allow, Deny, ask_of, verdict

CWD = Path("/workspaces/w1/repo")
QUESTIONS = [
    {"question": "Which colour?", "header": "Colour", "options": [{"label": "red"}, {"label": "blue"}]},
    {"question": "How many?", "header": "Number", "options": [{"label": "one"}, {"label": "two"}]},
]
RULE = {
    "type": "addRules",
    "rules": [{"toolName": "Bash", "ruleContent": "touch zz *"}],
    "behavior": "allow",
    "destination": "localSettings",
}
MODE = {"type": "setMode", "mode": "acceptEdits", "destination": "session"}


def request(tool: str, arguments: dict[str, Any], *suggestions: dict[str, Any]) -> dict[str, Any]:
    return {
        "subtype": "can_use_tool",
        "tool_name": tool,
        "input": arguments,
        "tool_use_id": "toolu_1",
        "permission_suggestions": list(suggestions),
        "decision_reason": "This command requires approval",
    }


def test_a_command_is_asked_for_by_its_words() -> None:
    ask = ask_of(request("Bash", {"command": "touch zz", "description": "Make a file"}, RULE), CWD)
    assert (ask.kind, ask.title, ask.key, ask.item_id) == ("command", "touch zz", "toolu_1", "toolu_1")
    assert ask.detail == {
        "command": "touch zz",
        "cwd": str(CWD),
        "description": "Make a file",
        "reason": "This command requires approval",
    }
    assert ask.options == ("accept", "accept_for_session", "decline", "cancel")


def test_a_new_file_is_asked_for_with_its_diff() -> None:
    ask = ask_of(request("Write", {"file_path": f"{CWD}/docs/a.md", "content": "one\ntwo"}), CWD)
    assert (ask.kind, ask.title) == ("file_change", "docs/a.md")
    assert ask.detail["diff"] == (
        "--- /dev/null\n+++ b/docs/a.md\n@@ -0,0 +1,2 @@\n+one\n+two\n\\ No newline at end of file\n"
    )
    assert ask.options == ("accept", "decline", "cancel")


def test_an_edit_is_asked_for_with_what_it_replaces() -> None:
    arguments = {"file_path": f"{CWD}/a.md", "old_string": "first", "new_string": "second"}
    ask = ask_of(request("Edit", arguments), CWD)
    assert ask.detail["diff"] == "--- a/a.md\n+++ b/a.md\n-first\n+second\n"


def test_any_other_tool_is_asked_for_with_its_input() -> None:
    ask = ask_of(request("WebFetch", {"url": "http://example.test"}), CWD)
    assert (ask.kind, ask.title) == ("tool", "WebFetch")
    assert ask.detail["input"] == {"url": "http://example.test"}


def test_a_repeated_request_has_the_same_detail() -> None:
    first = ask_of(request("Bash", {"command": "ls"}), CWD)
    again = ask_of({**request("Bash", {"command": "ls"}), "tool_use_id": "toolu_2"}, CWD)
    assert (first.kind, first.detail, first.questions) == (again.kind, again.detail, again.questions)


def test_a_question_carries_its_questions_with_ids() -> None:
    ask = ask_of(request("AskUserQuestion", {"questions": QUESTIONS}), CWD)
    assert (ask.kind, ask.title) == ("question", "Which colour?")
    assert [each["id"] for each in ask.questions] == ["q1", "q2"]
    assert ask.options == ("accept", "decline", "cancel")


@pytest.mark.parametrize(
    "answers",
    [{"q1": "red", "q2": ["one", "two"]}, {"Which colour?": "red", "How many?": ["one", "two"]}],
)
def test_answers_are_given_by_id_or_by_the_words_of_the_question(answers: dict[str, Any]) -> None:
    asked = request("AskUserQuestion", {"questions": QUESTIONS})
    answer = verdict(asked, Decision(kind="accept", answers=answers))
    assert isinstance(answer, Allow)
    assert answer.input["answers"] == {"Which colour?": "red", "How many?": "one, two"}


def test_a_message_answers_a_question_that_got_no_other_answer() -> None:
    asked = request("AskUserQuestion", {"questions": QUESTIONS[:1]})
    answer = verdict(asked, Decision(kind="accept", message="green"))
    assert isinstance(answer, Allow)
    assert answer.input["answers"] == {"Which colour?": "green"}


def test_accepting_lets_the_tool_run_as_asked() -> None:
    assert verdict(request("Bash", {"command": "ls"}, RULE), Decision(kind="accept")) == Allow({"command": "ls"})


def test_accepting_for_the_session_grants_the_least_that_was_suggested_and_nothing_in_the_repository() -> None:
    answer = verdict(request("Bash", {"command": "touch zz"}, RULE, MODE), Decision(kind="accept_for_session"))
    assert answer == Allow({"command": "touch zz"}, ({**RULE, "destination": "session"},))
    answer = verdict(request("Write", {"file_path": "a"}, MODE), Decision(kind="accept_for_session"))
    assert answer == Allow({"file_path": "a"}, (MODE,))


def test_declining_tells_the_agent_why_and_cancelling_ends_the_turn() -> None:
    asked = request("Bash", {"command": "ls"})
    assert verdict(asked, Decision(kind="decline")) == Deny(DECLINED)
    assert verdict(asked, Decision(kind="decline", message="Use rg.")) == Deny("Use rg.")
    assert verdict(asked, Decision(kind="cancel")) == Deny(DECLINED, interrupt=True)

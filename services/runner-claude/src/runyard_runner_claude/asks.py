"""Permission requests and questions of Claude, as neutral asks, and the answers given back."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from runyard_runner.adapter import Ask, AskKind, Decision, DecisionKind
from runyard_runner_claude.native import Json, obj, objects, optional_text, text
from runyard_runner_claude.tools import category_of, relative, unified, whole_file_hunk

QUESTION_TOOL = "AskUserQuestion"
DECLINED = "The user declined this."


@dataclass(frozen=True, slots=True)
class Allow:
    """The tool may run with this input."""

    input: Json
    granted: tuple[Json, ...] = ()
    """Permission updates for the rest of the session."""


@dataclass(frozen=True, slots=True)
class Deny:
    """The tool may not run; `interrupt` ends the turn as well."""

    message: str
    interrupt: bool = False


def ask_of(request: Json, cwd: Path) -> Ask:
    """The neutral ask of a `can_use_tool` request; its key is the id of the tool call that waits."""
    tool_name = text(request.get("tool_name"))
    arguments = obj(request.get("input"))
    call_id = text(request.get("tool_use_id"))
    if tool_name == QUESTION_TOOL:
        return _question(call_id, arguments)
    kind, title, detail = _what(tool_name, arguments, cwd)
    reason = optional_text(request.get("decision_reason"))
    return Ask(
        key=call_id,
        kind=kind,
        title=title,
        detail={**detail, "reason": reason} if reason else detail,
        options=_options(request),
        item_id=call_id,
    )


def verdict(request: Json, decision: Decision) -> Allow | Deny:
    """What a person's decision means for a `can_use_tool` request."""
    arguments = obj(request.get("input"))
    match decision.kind:
        case "decline":
            return Deny(decision.message or DECLINED)
        case "cancel":
            return Deny(decision.message or DECLINED, interrupt=True)
        case _ if text(request.get("tool_name")) == QUESTION_TOOL:
            return Allow({**arguments, "answers": _answers(arguments, decision)})
        case "accept_for_session":
            return Allow(arguments, tuple(narrowest(request)))
        case "accept":
            return Allow(arguments)


def narrowest(request: Json) -> list[Json]:
    """The suggested updates that allow the least: rules for this call before a wider mode.

    They hold for the session: any other destination would be written into the repository.
    """
    suggestions = objects(request.get("permission_suggestions"))
    rules = [each for each in suggestions if each.get("type") == "addRules"]
    return [{**each, "destination": "session"} for each in rules or suggestions]


def _question(call_id: str, arguments: Json) -> Ask:
    asked = objects(arguments.get("questions"))
    questions = tuple({"id": f"q{index}", **question} for index, question in enumerate(asked, 1))
    title = text(asked[0].get("question")) if asked else "A question"
    return Ask(
        key=call_id,
        kind="question",
        title=title,
        detail={"toolName": QUESTION_TOOL},
        options=("accept", "decline", "cancel"),
        questions=questions,
        item_id=call_id,
    )


def _what(tool_name: str, arguments: Json, cwd: Path) -> tuple[AskKind, str, Json]:
    path = text(arguments.get("file_path")) or text(arguments.get("notebook_path"))
    match category_of(tool_name):
        case "command":
            command = text(arguments.get("command"))
            detail: Json = {"command": command, "cwd": str(cwd)}
            if description := optional_text(arguments.get("description")):
                detail["description"] = description
            return "command", command, detail
        case "file_change" if path:
            shown = relative(path, cwd)
            detail = {"toolName": tool_name, "path": shown}
            if diff := _preview(tool_name, arguments, shown):
                detail["diff"] = diff
            return "file_change", shown, detail
        case _:
            return "tool", tool_name, {"toolName": tool_name, "input": arguments}


def _preview(tool_name: str, arguments: Json, path: str) -> str:
    if tool_name == "Write":
        content = text(arguments.get("content"))
        return unified(path, [whole_file_hunk(content)], added=True) if content else ""
    old, new = text(arguments.get("old_string")), text(arguments.get("new_string"))
    lines = [f"-{line}" for line in old.splitlines()] + [f"+{line}" for line in new.splitlines()]
    return "\n".join([f"--- a/{path}", f"+++ b/{path}", *lines, ""]) if lines else ""


def _options(request: Json) -> tuple[DecisionKind, ...]:
    return (
        ("accept", "accept_for_session", "decline", "cancel") if narrowest(request) else ("accept", "decline", "cancel")
    )


def _answers(arguments: Json, decision: Decision) -> dict[str, str]:
    """Claude keys answers by the question's words; people may use our ids or the words."""
    given: Mapping[str, Any] = decision.answers or {}
    answers: dict[str, str] = {}
    for index, question in enumerate(objects(arguments.get("questions")), 1):
        words = text(question.get("question"))
        answer = given.get(f"q{index}", given.get(words))
        if answer is not None:
            many = cast("list[object]", answer) if isinstance(answer, list | tuple) else [answer]
            answers[words] = ", ".join(str(each) for each in many)
    if not answers and decision.message:
        answers = {text(question.get("question")): decision.message for question in objects(arguments.get("questions"))}
    return answers

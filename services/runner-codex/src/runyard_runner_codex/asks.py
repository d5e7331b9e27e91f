"""Codex's requests to a person, and a person's answers to Codex. Pure."""

from collections.abc import Mapping
from typing import Any

from runyard_runner.adapter import Ask, Decision, DecisionKind
from runyard_runner_codex.items import plain_command
from runyard_runner_codex.translate import Translator

FOUR: tuple[DecisionKind, ...] = ("accept", "accept_for_session", "decline", "cancel")
THREE: tuple[DecisionKind, ...] = ("accept", "decline", "cancel")
_DECISIONS: Mapping[DecisionKind, str] = {
    "accept": "accept",
    "accept_for_session": "acceptForSession",
    "decline": "decline",
    "cancel": "cancel",
}


def ask_of(request: Mapping[str, Any], translator: Translator) -> Ask | None:
    """What a server request asks; None when no person can answer it."""
    params: Mapping[str, Any] = request.get("params") or {}
    key = str(request["id"])
    item = params.get("itemId")
    match request["method"]:
        case "item/commandExecution/requestApproval":
            command = plain_command(params.get("command") or "")
            detail = {"command": command, "cwd": params.get("cwd"), "reason": params.get("reason")}
            return Ask(key=key, kind="command", title=command, detail=detail, options=FOUR, item_id=item)
        case "item/fileChange/requestApproval":
            changes = translator.changes_of(item) if item else []
            title = ", ".join(str(one["path"]) for one in changes) or "File changes"
            detail = {"changes": changes, "reason": params.get("reason"), "root": params.get("grantRoot")}
            return Ask(key=key, kind="file_change", title=title, detail=detail, options=FOUR, item_id=item)
        case "mcpServer/elicitation/request":
            meta: Mapping[str, Any] = params.get("_meta") or {}
            detail = {"server": params.get("serverName"), "arguments": meta.get("tool_params")}
            return Ask(key=key, kind="tool", title=params["message"], detail=detail, options=THREE)
        case "item/permissions/requestApproval":
            detail = {"permissions": params.get("permissions"), "reason": params.get("reason")}
            title = params.get("reason") or "More permissions"
            return Ask(key=key, kind="tool", title=title, detail=detail, options=THREE, item_id=item)
        case "item/tool/requestUserInput":
            questions = tuple(params["questions"])
            title = questions[0]["question"] if questions else "A question"
            return Ask(
                key=key, kind="question", title=title, detail={}, options=THREE, questions=questions, item_id=item
            )
        case _:
            return None


def response_to(request: Mapping[str, Any], decision: Decision) -> dict[str, Any]:
    """The result that tells Codex what a person decided."""
    accepted = decision.kind in ("accept", "accept_for_session")
    match request["method"]:
        case "mcpServer/elicitation/request":
            if not accepted:
                return {"action": decision.kind}
            content = dict(decision.answers or {})
            return {"action": "accept", "content": content}
        case "item/permissions/requestApproval":
            scope = "session" if decision.kind == "accept_for_session" else "turn"
            granted: dict[str, Any] = request["params"]["permissions"] if accepted else {}
            return {"permissions": granted, "scope": scope}
        case "item/tool/requestUserInput":
            answers = decision.answers or {}
            return {"answers": {key: {"answers": _texts(value)} for key, value in answers.items()}}
        case _:
            return {"decision": _DECISIONS[decision.kind]}


def _texts(value: Any) -> list[str]:
    if isinstance(value, list | tuple):
        return [str(one) for one in value]  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    return [str(value)]

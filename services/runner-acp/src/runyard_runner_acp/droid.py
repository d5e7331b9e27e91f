"""What Droid says over its stream-jsonrpc protocol, in the neutral vocabulary. No input or output."""

import re
from collections.abc import Mapping
from typing import Any

from runyard_events.catalogue import (
    AssistantDelta,
    AssistantFinal,
    FileChanged,
    Payload,
    ReasoningDelta,
    ReasoningFinal,
    ToolCall,
    ToolCategory,
    ToolOutputDelta,
    ToolResult,
    UiError,
    UsageUpdated,
)
from runyard_runner.adapter import Ask, AskKind, Decision, DecisionKind, TurnEnd
from runyard_runner_acp.calls import changed, patched, plan, usage, within
from runyard_runner_acp.dialect import Message

Body = Mapping[str, Any]

_CATEGORIES: Mapping[str, ToolCategory] = {
    "Execute": "command",
    "Create": "file_change",
    "Edit": "file_change",
    "ApplyPatch": "file_change",
    "Read": "read",
    "LS": "read",
    "Grep": "search",
    "Glob": "search",
    "WebSearch": "web",
    "FetchUrl": "web",
    "TodoWrite": "plan",
    "Task": "subagent",
}
_ASKS: Mapping[ToolCategory, AskKind] = {"command": "command", "file_change": "file_change"}
_EXITED = re.compile(r"\n*\[Process exited with code (\d+)\]\s*$")
_CHOICES: Mapping[DecisionKind, str] = {"accept": "proceed_once", "accept_for_session": "proceed_always"}
_INTERRUPTED = ("cancel", "interrupt", "abort")
REFUSED = "cancel"


class DroidTranslator:
    """Messages of one turn, worked on in `cwd`."""

    def __init__(self, cwd: str = "/") -> None:
        self._cwd = cwd
        self._texts: dict[str, str] = {}
        self._final: str | None = None
        self._calls: dict[str, tuple[str, dict[str, Any]]] = {}
        self._told: set[str] = set()
        self._output: dict[str, str] = {}
        self._error: str | None = None

    def neutral(self, message: Message) -> tuple[Payload, ...]:  # noqa: C901, PLR0911 - one per kind
        """The neutral events of one native message."""
        if message.get("method") == "droid.request_permission":
            return tuple(told for use in _uses(message) for told in self._tell(use))
        match _notification(message):
            case {"type": "assistant_text_delta", "textDelta": str(text)} as body:
                return (AssistantDelta(text_delta=text, message_id=self._grow(body, text)),)
            case {"type": "thinking_text_delta", "textDelta": str(text)} as body:
                return (ReasoningDelta(text_delta=text, item_id=self._grow(body, text)),)
            case {"type": "assistant_text_complete"} as body:
                self._final = self._texts.pop(_item(body), "")
                return (AssistantFinal(text=self._final, message_id=_item(body)),)
            case {"type": "thinking_text_complete"} as body:
                return (ReasoningFinal(text=self._texts.pop(_item(body), ""), item_id=_item(body)),)
            case {"type": "tool_call", "toolUse": {"input": {**given}} as use} if given:
                return self._tell(use)
            case {"type": "tool_execution_phase_changed", "toolUseId": str(key), "toolName": str(name)}:
                return self._tell({"id": key, "name": name, "input": {}})
            case {"type": "tool_progress_update", "update": {"fullOutput": str(output)}, "toolUseId": str(key)}:
                return self._grown(key, output)
            case {"type": "tool_result", "toolUseId": str(key)} as body:
                return self._ended(key, body)
            case {"type": "agent_turn_completed"} as body:
                return (UsageUpdated(scope="turn", **_counted(body.get("tokenUsage") or {}).model_dump()),)
            case {"type": "error", "message": str(text)}:
                self._error = text
                return (UiError(message=text),)
            case _:
                return ()

    def end(self, message: Message) -> TurnEnd | None:
        """`agent_turn_completed` ends the turn."""
        body = _notification(message)
        if body.get("type") != "agent_turn_completed":
            return None
        reason, counts = str(body.get("reason")), _counted(body.get("tokenUsage") or {})
        if any(word in reason for word in _INTERRUPTED):
            return TurnEnd(status="interrupted", usage=counts)
        if reason == "completed" and self._error is None:
            return TurnEnd(status="completed", usage=counts, final_text=self._final)
        text = self._error or f"The turn ended as {reason}."
        return TurnEnd(status="error", message=text, reason="model_error", usage=counts)

    def ask(self, message: Message) -> Ask | None:
        """A permission is asked for; every other request of the agent is not served here."""
        uses = _uses(message)
        if message.get("method") != "droid.request_permission" or not uses:
            return None
        kinds: set[AskKind] = {_ASKS.get(_category(use["name"]), "tool") for use in uses}
        kind = kinds.pop() if len(kinds) == 1 else "tool"
        commands = [str(use["input"].get("command") or "") for use in uses]
        title = "; ".join(commands) if kind == "command" else ", ".join(_title(use) for use in uses)
        detail: dict[str, Any] = {"tools": [{"name": use["name"], "input": use["input"]} for use in uses]}
        if kind == "command":
            detail = {"command": title}
        elif kind == "file_change":
            made = [change for use in uses for change in self._changes(use["id"], use["name"], use["input"])]
            detail = {"changes": [{"path": one.path, "change": one.change, "diff": one.diff} for one in made]}
        offered = {one.get("value") for one in message["params"].get("options") or ()}
        accepting: list[DecisionKind] = [choice for choice, value in _CHOICES.items() if value in offered]
        options: tuple[DecisionKind, ...] = (*accepting, "decline", "cancel")
        item = uses[0]["id"]
        return Ask(key=str(message["id"]), kind=kind, title=title, detail=detail, options=options, item_id=item)

    def response(self, message: Message, decision: Decision) -> dict[str, Any]:
        """One of the options that were offered; refused when none of them fits."""
        offered = {one.get("value") for one in message["params"].get("options") or ()}
        wanted = _CHOICES.get(decision.kind, REFUSED)
        return {"selectedOption": wanted if wanted in offered else REFUSED}

    def _grow(self, body: Body, text: str) -> str:
        item = _item(body)
        self._texts[item] = self._texts.get(item, "") + text
        return item

    def _tell(self, use: Body) -> tuple[Payload, ...]:
        key, name = use["id"], use["name"]
        if key in self._told:
            return ()
        self._told.add(key)
        self._calls[key] = (name, dict(use["input"]))
        return (ToolCall(tool_name=name, input=use["input"], call_id=key, category=_category(name)),)

    def _grown(self, key: str, output: str) -> tuple[Payload, ...]:
        before = self._output.get(key, "")
        if not output.startswith(before) or output == before:
            return ()
        self._output[key] = output
        return (ToolOutputDelta(text_delta=output[len(before) :], call_id=key),)

    def _ended(self, key: str, body: Body) -> tuple[Payload, ...]:
        name, arguments = self._calls.pop(key, ("tool", {}))
        told = self._tell({"id": key, "name": name, "input": arguments})
        self._calls.pop(key, None)
        content = body.get("content")
        exited = _EXITED.search(content) if isinstance(content, str) else None
        code = int(exited[1]) if exited else None
        failed = bool(body.get("isError")) or code not in (None, 0)
        output = content[: exited.start()] + "\n" if exited and isinstance(content, str) else content
        result = ToolResult(
            tool_name=name, output=output, call_id=key, status="failed" if failed else "completed", exit_code=code
        )
        if failed:
            return (*told, result)
        shown = plan(arguments.get("todos")) if name == "TodoWrite" else None
        return (*told, *self._changes(key, name, arguments), result, *((shown,) if shown else ()))

    def _changes(self, key: str, name: str, arguments: Body) -> tuple[FileChanged, ...]:
        path = within(str(arguments.get("file_path") or ""), self._cwd)
        match name, arguments:
            case "Create", {"content": str(text)}:
                return (changed(path, None, text, key),)
            case "Edit", {"old_str": str(old), "new_str": str(new)}:
                return (changed(path, old, new, key),)
            case "ApplyPatch", {"input": str(patch)} | {"patch": str(patch)}:
                return patched(patch, self._cwd, key)
            case _:
                return ()


def _notification(message: Message) -> Body:
    if message.get("method") != "droid.session_notification":
        return {}
    params: Body = message.get("params") or {}
    return params.get("notification") or {}


def _category(name: str) -> ToolCategory:
    return _CATEGORIES.get(name, "other")


def _uses(message: Message) -> list[Body]:
    params: Body = message.get("params") or {}
    return [one["toolUse"] for one in params.get("toolUses") or ()]


def _item(body: Body) -> str:
    return f"{body.get('messageId')}.{body.get('blockIndex')}"


def _title(use: Body) -> str:
    return str(use["input"].get("file_path") or use["name"])


def _counted(counts: Body) -> Any:
    return usage(counts, read="cacheReadTokens", written="cacheCreationTokens")

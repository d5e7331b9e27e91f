"""What agents say over ACP, in the neutral vocabulary. No input or output.

One translator serves one turn. It joins chunks into messages, shows a call once its arguments are known,
and turns output that is told anew each time into what has been added.
"""

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
    ToolStatus,
    UsageUpdated,
)
from runyard_runner.adapter import Ask, AskKind, Decision, DecisionKind, TurnEnd
from runyard_runner_acp.calls import changed, patched, plan, usage, within
from runyard_runner_acp.dialect import Message

Update = Mapping[str, Any]

PROMPT = "prompt"
"""Id of the one request whose answer ends the turn."""
_CATEGORIES: Mapping[str, ToolCategory] = {
    "execute": "command",
    "edit": "file_change",
    "delete": "file_change",
    "move": "file_change",
    "read": "read",
    "search": "search",
    "fetch": "web",
}
_ASKS: Mapping[ToolCategory, AskKind] = {"command": "command", "file_change": "file_change"}
_OPTIONS: Mapping[DecisionKind, str] = {
    "accept": "allow_once",
    "accept_for_session": "allow_always",
    "decline": "reject_once",
}
_ENDED = {"completed", "failed"}
_STOPPED = {
    "max_tokens": "The model's answer was cut off: it is longer than the model may answer.",
    "max_turn_requests": "The agent asked the model more often than it may in one turn.",
    "refusal": "The model refused.",
}


class AcpTranslator:
    """Messages of one turn, worked on in `cwd`."""

    def __init__(self, cwd: str = "/") -> None:
        self._cwd = cwd
        self._open: tuple[str, str | None] | None = None
        self._text = ""
        self._final: str | None = None
        self._calls: dict[str, dict[str, Any]] = {}
        self._told: set[str] = set()
        self._output: dict[str, str] = {}

    def neutral(self, message: Message) -> tuple[Payload, ...]:
        """The neutral events of one native message."""
        match message:
            case {"method": "session/update", "params": {"update": {"sessionUpdate": str()} as update}}:
                return self._updated(update)
            case {"method": "session/request_permission", "params": {"toolCall": call}}:
                self._merge(call)
                return (*self._close(), *self._tell(call["toolCallId"]))
            case {"id": "prompt", "result": result}:
                counted = _usage(result)
                told = (UsageUpdated(scope="turn", **_tokens(counted)),) if counted else ()
                return (*self._close(), *told)
            case {"id": "prompt", "error": _}:
                return self._close()
            case _:
                return ()

    def end(self, message: Message) -> TurnEnd | None:
        """The answer to the prompt ends the turn."""
        if "method" in message or message.get("id") != PROMPT:
            return None
        if "error" in message:
            return TurnEnd(status="error", message=_error(message["error"]), reason="agent_error")
        result: Mapping[str, Any] = message.get("result") or {}
        match result.get("stopReason"):
            case "end_turn":
                return TurnEnd(status="completed", usage=_usage(result), final_text=self._final)
            case "cancelled":
                return TurnEnd(status="interrupted", usage=_usage(result))
            case reason:
                text = _STOPPED.get(str(reason), f"The agent stopped: {reason}.")
                return TurnEnd(status="error", message=text, reason="model_error", usage=_usage(result))

    def ask(self, message: Message) -> Ask | None:
        """A permission is asked for; every other request of the agent is not served here."""
        if message.get("method") != "session/request_permission":
            return None
        params: Mapping[str, Any] = message["params"]
        call: Mapping[str, Any] = {**self._calls.get(params["toolCall"]["toolCallId"], {}), **params["toolCall"]}
        category = _category(call)
        offered = {one.get("kind") for one in params.get("options") or ()}
        detail: dict[str, Any] = {"input": call.get("rawInput") or {}}
        if category == "command":
            detail = {"command": _command(call)}
        elif changes := self._diffs(call):
            detail = {"changes": [{"path": one.path, "change": one.change, "diff": one.diff} for one in changes]}
        return Ask(
            key=str(message["id"]),
            kind=_ASKS.get(category, "tool"),
            title=str(call.get("title") or "A tool"),
            detail=detail,
            options=(*(kind for kind, native in _OPTIONS.items() if native in offered), "cancel"),
            item_id=call["toolCallId"],
        )

    def response(self, message: Message, decision: Decision) -> dict[str, Any]:
        """One of the options that were offered; cancelled when none of them fits."""
        wanted = _OPTIONS.get(decision.kind)
        for option in message["params"].get("options") or ():
            if option.get("kind") == wanted:
                return {"outcome": {"outcome": "selected", "optionId": option["optionId"]}}
        return {"outcome": {"outcome": "cancelled"}}

    def _updated(self, update: Update) -> tuple[Payload, ...]:
        match update["sessionUpdate"]:
            case "agent_message_chunk" | "agent_thought_chunk" as kind:
                return self._chunk(kind, update)
            case "tool_call" | "tool_call_update":
                return self._called(update)
            case "plan":
                shown = plan(update.get("entries"))
                return (shown,) if shown else ()
            case _:
                return ()  # usage_update is about the context window, not about this turn

    def _chunk(self, kind: str, update: Update) -> tuple[Payload, ...]:
        content: Mapping[str, Any] = update.get("content") or {}
        text, message_id = content.get("text"), update.get("messageId")
        if not text:
            return ()
        before = () if self._open == (kind, message_id) else self._close()
        self._open = (kind, message_id)
        self._text += text
        if kind == "agent_message_chunk":
            return (*before, AssistantDelta(text_delta=text, message_id=message_id))
        return (*before, ReasoningDelta(text_delta=text, item_id=message_id))

    def _close(self) -> tuple[Payload, ...]:
        """ACP has no end of a message: whatever else comes ends it."""
        if self._open is None:
            return ()
        (kind, message_id), text = self._open, self._text
        self._open, self._text = None, ""
        if kind == "agent_thought_chunk":
            return (ReasoningFinal(text=text, item_id=message_id),)
        self._final = text
        return (AssistantFinal(text=text, message_id=message_id),)

    def _called(self, update: Update) -> tuple[Payload, ...]:
        key: str = update["toolCallId"]
        known = key in self._calls
        self._merge(update)
        status = update.get("status") or "in_progress"
        if status in _ENDED and "content" in update:
            self._calls[key]["content"] = update["content"]  # what was shown before the end may have been no output
        before = () if known else self._close()
        if status == "pending":
            return before  # the arguments are still coming
        told = self._tell(key)
        if status in _ENDED:
            return (*before, *told, *self._ended(key))
        return (*before, *told, *self._grown(key))

    def _merge(self, update: Update) -> None:
        known = self._calls.setdefault(update["toolCallId"], {})
        known.update({name: value for name, value in update.items() if value not in (None, [], {})})
        if update.get("sessionUpdate") == "tool_call":
            known.setdefault("name", update.get("title"))

    def _tell(self, key: str) -> tuple[Payload, ...]:
        if key in self._told:
            return ()
        self._told.add(key)
        call = self._calls[key]
        category = _category(call)
        arguments = {"command": _command(call)} if category == "command" else call.get("rawInput") or {}
        shown: Any = arguments or {"title": call.get("title")}
        return (ToolCall(tool_name=_name(call), input=shown, call_id=key, category=category),)

    def _grown(self, key: str) -> tuple[Payload, ...]:
        call = self._calls[key]
        text, before = _text(call.get("content")), self._output.get(key, "")
        if _category(call) != "command" or "rawInput" not in call or len(text) <= len(before):
            return ()
        if not text.startswith(before):
            return ()
        self._output[key] = text
        return (ToolOutputDelta(text_delta=text[len(before) :], call_id=key),)

    def _ended(self, key: str) -> tuple[Payload, ...]:
        call = self._calls.pop(key)
        raw: Mapping[str, Any] = call["rawOutput"] if isinstance(call.get("rawOutput"), Mapping) else {}
        metadata: Mapping[str, Any] = raw.get("metadata") or {}
        code = metadata.get("exit")
        failed = call["status"] == "failed" or code not in (None, 0)
        status: ToolStatus = "failed" if failed else "completed"
        result = ToolResult(
            tool_name=_name(call),
            output=_text(call.get("content")) or raw.get("output") or raw.get("error") or "",
            call_id=key,
            status=status,
            exit_code=code if isinstance(code, int) else None,
        )
        if failed:
            return (result,)
        arguments: Mapping[str, Any] = call.get("rawInput") or {}
        shown = plan(arguments.get("todos")) if "todo" in _name(call) else None
        return (*self._diffs(call), result, *((shown,) if shown else ()))

    def _diffs(self, call: Mapping[str, Any]) -> tuple[FileChanged, ...]:
        key = call["toolCallId"]
        found = tuple(
            changed(within(one["path"], self._cwd), one.get("oldText"), one.get("newText"), key)
            for one in call.get("content") or ()
            if one.get("type") == "diff"
        )
        arguments: Mapping[str, Any] = call.get("rawInput") or {}
        patch = arguments.get("patchText") or arguments.get("patch")
        return found or (patched(patch, self._cwd, key) if isinstance(patch, str) else ())


def _category(call: Mapping[str, Any]) -> ToolCategory:
    if "todo" in _name(call):
        return "plan"
    return _CATEGORIES.get(str(call.get("kind")), "other")


def _name(call: Mapping[str, Any]) -> str:
    """ACP has titles, not names: gemini-cli's ids begin with the name, opencode's first title is it."""
    prefix, separator, _ = str(call.get("toolCallId")).partition("__")
    if separator and prefix.isidentifier():
        return prefix
    title = str(call.get("name") or "")
    return title if title.isidentifier() else str(call.get("kind") or "tool")


def _command(call: Mapping[str, Any]) -> str:
    arguments: Mapping[str, Any] = call.get("rawInput") or {}
    return str(arguments.get("command") or call.get("title") or "")


def _text(content: Any) -> str:
    parts: list[Mapping[str, Any]] = [one.get("content") or {} for one in content or () if one.get("type") == "content"]
    return "".join(str(part.get("text") or "") for part in parts)


def _usage(result: Mapping[str, Any]) -> Any:
    if counts := result.get("usage"):
        return usage(counts, read="cachedReadTokens", written="cachedWriteTokens")
    match result:
        case {"_meta": {"quota": {"token_count": {"input_tokens": int(given), "output_tokens": int(made)}}}}:
            return usage({"inputTokens": given, "outputTokens": made}, read="", written="")
        case _:
            return None


def _tokens(counted: Any) -> dict[str, int]:
    return counted.model_dump()


def _error(error: Mapping[str, Any]) -> str:
    data = error.get("data")
    more = data.get("details") or data.get("message") if isinstance(data, Mapping) else data  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return "\n".join(str(part) for part in (error.get("message"), more) if part) or "The agent failed."  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]

"""What Codex says, in the neutral vocabulary. No input or output.

One translator serves one turn: it remembers which items and sub-agents the turn has begun, so that
every result has its call and a sub-agent's words do not mix with the agent's own.
"""

import re
from collections.abc import Mapping
from typing import Any

from runyard_events.catalogue import (
    AssistantDelta,
    AssistantFinal,
    DiffUpdated,
    ErrorReason,
    Notice,
    Payload,
    PlanStep,
    PlanUpdated,
    ReasoningDelta,
    ReasoningFinal,
    Retrying,
    SubagentEnded,
    SubagentStarted,
    ToolOutputDelta,
    ToolResult,
    UiError,
    Usage,
    UsageUpdated,
)
from runyard_runner.adapter import TurnEnd
from runyard_runner_codex.items import (
    Item,
    Params,
    changes_as_input,
    file_changes,
    relative,
    tool_call,
    tool_result,
)

Message = Mapping[str, Any]

_PLAN_STATUS = {"pending": "pending", "inProgress": "in_progress", "completed": "completed"}
_SUBAGENT_STATUS = {"completed": "completed", "failed": "failed", "interrupted": "interrupted"}
_ATTEMPT = re.compile(r"(\d+)/\d+")
_TOKENS = {
    "input_tokens": "inputTokens",
    "output_tokens": "outputTokens",
    "cached_input_tokens": "cachedInputTokens",
    "cache_write_tokens": "cacheWriteInputTokens",
    "reasoning_tokens": "reasoningOutputTokens",
}
_NOT_THE_MODEL = {"sandboxError", "badRequest", "threadRollbackFailed", "other"}
_OUR_OWN_SETUP = "Model metadata for"
"""Codex warns about every model that is not in its own list; that is no news to a reader."""


class Translator:
    """Native messages of one turn of thread `thread_id`, working in `cwd`, to neutral payloads."""

    def __init__(self, thread_id: str, cwd: str = "/") -> None:
        self._thread = thread_id
        self._cwd = cwd
        self._begun: dict[str, Item] = {}
        self._summarised: set[str] = set()
        self._spawned: dict[str, str] = {}
        """Sub-agent's thread -> the call that made it."""
        self._last_words: dict[str, str] = {}
        self._tokens: dict[str, int] = dict.fromkeys(_TOKENS, 0)
        self._counted = False

    @property
    def running(self) -> bool:
        """A tool has begun and not ended."""
        return bool(self._begun)

    @property
    def usage(self) -> Usage | None:
        """Tokens of the turn so far, those of sub-agents included."""
        return Usage.model_validate(self._tokens) if self._counted else None

    def neutral(self, message: Message) -> tuple[Payload, ...]:  # noqa: PLR0911 - one per method
        """The neutral events of one native message; most have none or one."""
        params: Params = message.get("params") or {}
        match message.get("method"):
            case "item/started":
                return self._started(params)
            case "item/completed":
                return self._completed(params)
            case "item/commandExecution/outputDelta":
                return (ToolOutputDelta(text_delta=params["delta"], call_id=params["itemId"]),)
            case "thread/tokenUsage/updated":
                return (self._used(params["tokenUsage"]),)
            case "turn/completed" if not self._own(params):
                return self._subagent_ended(params)
            case method if self._own(params):
                return self._own_words(str(method), params) or _notices(str(method), params)
            case method:
                return _notices(str(method), params)

    def _own_words(self, method: str, params: Params) -> tuple[Payload, ...]:
        """What only the agent itself says into the transcript; its sub-agents keep it to themselves.

        `item/fileChange/patchUpdated` is left out: the arguments as they come, each time from the start.
        """
        match method:
            case "item/agentMessage/delta":
                return (AssistantDelta(text_delta=params["delta"], message_id=params["itemId"]),)
            case "item/reasoning/summaryTextDelta":
                self._summarised.add(params["itemId"])
                return (ReasoningDelta(text_delta=params["delta"], item_id=params["itemId"]),)
            case "item/reasoning/textDelta" if params["itemId"] not in self._summarised:
                return (ReasoningDelta(text_delta=params["delta"], item_id=params["itemId"]),)
            case "turn/plan/updated":
                return (_plan(params),)
            case "turn/diff/updated":
                return (DiffUpdated(diff=params["diff"]),)
            case _:
                return ()

    def end(self, message: Message) -> TurnEnd | None:
        """How the turn ended, when this message says that it did."""
        params: Params = message.get("params") or {}
        if message.get("method") != "turn/completed" or not self._own(params):
            return None
        turn = params["turn"]
        error: Params = turn.get("error") or {}
        match turn["status"]:
            case "completed":
                text = self._last_words.get(self._thread)
                return TurnEnd(status="completed", usage=self.usage, final_text=text)
            case "interrupted":
                return TurnEnd(status="interrupted", usage=self.usage)
            case status:
                return TurnEnd(
                    status="error",
                    message=_error_text(error) or f"The turn ended as {status}.",
                    reason=_reason(error),
                    usage=self.usage,
                )

    def changes_of(self, item_id: str) -> list[dict[str, Any]]:
        """The file changes of an item that waits for approval."""
        return changes_as_input(self._begun.get(item_id, {}).get("changes", ()))

    def _own(self, params: Params) -> bool:
        return params.get("threadId") == self._thread

    def _started(self, params: Params) -> tuple[Payload, ...]:
        item = relative(params["item"], self._cwd)
        call = tool_call(item, self._spawned.get(params["threadId"]))
        if call is None:
            return ()
        self._begun[item["id"]] = item
        return (call,)

    def _completed(self, params: Params) -> tuple[Payload, ...]:
        item, thread = relative(params["item"], self._cwd), params["threadId"]
        match item["type"]:
            case "agentMessage":
                self._last_words[thread] = item["text"]
                if thread != self._thread:
                    return ()
                return (AssistantFinal(text=item["text"], message_id=item["id"]),)
            case "reasoning" if thread == self._thread:
                text = "\n\n".join(item.get("summary") or item.get("content") or ())
                return (ReasoningFinal(text=text, item_id=item["id"]),) if text else ()
            case "contextCompaction":
                return (Notice(level="info", message="The conversation was shortened to fit the model."),)
            case _:
                return self._tool_completed(item, thread)

    def _tool_completed(self, item: Item, thread: str) -> tuple[Payload, ...]:
        result = tool_result(item)
        if result is None:
            return ()
        parent = self._spawned.get(thread)
        # Some items are only ever completed: their call is told all the same.
        call = None if self._begun.pop(item["id"], None) else tool_call(item, parent)
        spawned = self._spawned_by(item, result)
        return (*((call,) if call else ()), *file_changes(item), result, *spawned)

    def _spawned_by(self, item: Item, result: ToolResult) -> tuple[Payload, ...]:
        if item["type"] != "collabAgentToolCall" or item["tool"] != "spawnAgent":
            return ()
        threads = [one for one in item["receiverThreadIds"] if one not in self._spawned]
        self._spawned.update(dict.fromkeys(threads, item["id"]))
        return tuple(
            SubagentStarted(subagent_id=one, description=item.get("prompt"), call_id=result.call_id) for one in threads
        )

    def _subagent_ended(self, params: Params) -> tuple[Payload, ...]:
        thread = params["threadId"]
        if thread not in self._spawned:
            return ()
        status = _SUBAGENT_STATUS.get(params["turn"]["status"], "failed")
        ended = {"subagent_id": thread, "status": status, "summary": self._last_words.get(thread)}
        return (SubagentEnded.model_validate(ended),)

    def _used(self, usage: Params) -> UsageUpdated:
        for ours, theirs in _TOKENS.items():
            self._tokens[ours] += usage["last"].get(theirs) or 0
        self._counted = True
        window = usage.get("modelContextWindow")
        return UsageUpdated.model_validate({"scope": "turn", **self._tokens, "context_window": window})


def _plan(params: Params) -> PlanUpdated:
    steps = tuple(
        PlanStep.model_validate({"text": one["step"], "status": _PLAN_STATUS.get(one["status"], "pending")})
        for one in params["plan"]
    )
    return PlanUpdated(steps=steps, explanation=params.get("explanation"))


def _notices(method: str, params: Params) -> tuple[Payload, ...]:
    match method:
        case "error":
            return _error(params)
        case "warning" | "guardianWarning" if not params["message"].startswith(_OUR_OWN_SETUP):
            return (Notice(level="warning", message=params["message"]),)
        case "model/rerouted":
            return (Notice(level="info", message=f"The model was changed to {params.get('toModel')}."),)
        case _:
            return ()


def _error(params: Params) -> tuple[Payload, ...]:
    error = params["error"]
    text = _error_text(error)
    if not params.get("willRetry"):
        return (UiError(message=text, code=_error_code(error)),)
    attempt = _ATTEMPT.search(error.get("message") or "")
    return (Retrying(message=text, attempt=int(attempt[1]) if attempt else None),)


def _error_text(error: Params) -> str:
    return "\n".join(part for part in (error.get("message"), error.get("additionalDetails")) if part)


def _error_code(error: Params) -> str | None:
    info = error.get("codexErrorInfo")
    return next(iter(info), None) if isinstance(info, Mapping) else info  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]


def _reason(error: Params) -> ErrorReason:
    code = _error_code(error)
    return "agent_error" if code is None or code in _NOT_THE_MODEL else "model_error"

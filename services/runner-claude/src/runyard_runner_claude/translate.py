"""From Claude's lines to the neutral vocabulary: a pure fold, one native line at a time.

Claude streams a message as `stream_event`s and repeats each finished block as an `assistant` line. Deltas
come from the former, finals and tool calls from the latter; what joins them is the message's id and the
order of its blocks. Sub-agents do not stream: their tool calls carry `parent_call_id`, their words stay in
the raw lines and in the summary that ends them.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from runyard_events.catalogue import (
    AssistantDelta,
    AssistantFinal,
    Notice,
    Payload,
    ReasoningDelta,
    ReasoningFinal,
    Retrying,
    SubagentEnded,
    SubagentStarted,
    ToolArgumentsDelta,
    ToolCall,
    UiError,
    UsageUpdated,
)
from runyard_runner.adapter import Native
from runyard_runner_claude.asks import ask_of
from runyard_runner_claude.ending import end_of, turn_usage, usage_of
from runyard_runner_claude.native import Json, obj, objects, optional_number, optional_text, text
from runyard_runner_claude.tools import category_of, changes, tool_result


@dataclass(slots=True)
class _Streaming:
    """The message that is being streamed: its id and the id of each of its open blocks."""

    message_id: str = ""
    blocks: dict[int, str] = field(default_factory=dict[int, str])
    unfinished: list[str] = field(default_factory=list[str])


class Translator:
    """What the lines so far mean for the next one."""

    def __init__(self, cwd: Path, *, asks: bool = True) -> None:
        self._cwd = cwd
        self._asks = asks
        self.interrupted = False
        """Set by the turn when somebody asked Claude to stop."""
        self.background = False
        """Commands or sub-agents are at work behind the conversation."""
        self._streaming = _Streaming()
        self._tools: dict[str, str] = {}
        self._asked: dict[str, str] = {}
        self._subagents: set[str] = set()
        self._results: list[Json] = []
        self._thread: str | None = None

    def received(self, line: Json) -> Native:
        """The meaning of a line that Claude wrote."""
        match line.get("type"):
            case "system":
                return self._system(line)
            case "control_request":
                return self._control(line)
            case "control_cancel_request":
                return Native(raw=line, answered=self._asked.pop(text(line.get("request_id")), None))
            case _:
                return Native(raw=line, neutral=tuple(self._content(line)))

    @property
    def settled(self) -> bool:
        """Whether the lines so far tell how the turn ended, if no more should come."""
        return self.interrupted or bool(self._results)

    def left(self) -> Native:
        """The end of a turn whose process has left before it said that it is idle."""
        return Native(raw=None, end=end_of(self._results, interrupted=self.interrupted))

    def _content(self, line: Json) -> Iterator[Payload]:
        match line.get("type"):
            case "stream_event" if not line.get("parent_tool_use_id"):
                yield from self._stream(obj(line.get("event")))
            case "assistant":
                yield from self._assistant(line)
            case "user":
                yield from self._user(line)
            case "result":
                self._results.append(line)
                if (usage := turn_usage(self._results)) is not None:
                    yield usage
            case _:
                pass

    def _stream(self, event: Json) -> Iterator[Payload]:
        match event.get("type"):
            case "message_start":
                self._streaming = _Streaming(text(obj(event.get("message")).get("id")))
            case "content_block_start":
                self._open(event)
            case "content_block_delta":
                yield from self._delta(self._block(event), obj(event.get("delta")))
            case "message_delta":
                yield UsageUpdated(scope="call", **usage_of(obj(event.get("usage"))))
            case _:
                pass

    def _open(self, event: Json) -> None:
        block = obj(event.get("content_block"))
        index = optional_number(event.get("index")) or 0
        block_id = optional_text(block.get("id")) or f"{self._streaming.message_id}.{index}"
        self._streaming.blocks[index] = block_id
        if block.get("type") in {"text", "thinking"}:
            self._streaming.unfinished.append(block_id)

    def _block(self, event: Json) -> str | None:
        return self._streaming.blocks.get(optional_number(event.get("index")) or 0)

    def _delta(self, block_id: str | None, delta: Json) -> Iterator[Payload]:
        match delta.get("type"):
            case "text_delta":
                yield AssistantDelta(text_delta=text(delta.get("text")), message_id=block_id)
            case "thinking_delta":
                yield ReasoningDelta(text_delta=text(delta.get("thinking")), item_id=block_id)
            case "input_json_delta" if delta.get("partial_json"):
                yield ToolArgumentsDelta(text_delta=text(delta.get("partial_json")), call_id=block_id)
            case _:
                pass

    def _assistant(self, line: Json) -> Iterator[Payload]:
        message = obj(line.get("message"))
        parent = optional_text(line.get("parent_tool_use_id"))
        if line.get("error"):
            words = " ".join(text(block.get("text")) for block in objects(message.get("content")))
            yield UiError(message=words.strip() or "The model call failed.", code=text(line.get("error")))
            return
        for block in objects(message.get("content")):
            if block.get("type") == "tool_use":
                yield self._tool_call(block, parent)
            elif parent is None:
                yield from self._final(block, text(message.get("id")))

    def _tool_call(self, block: Json, parent: str | None) -> ToolCall:
        name, call_id = text(block.get("name")), text(block.get("id"))
        self._tools[call_id] = name
        return ToolCall(
            tool_name=name,
            input=block.get("input"),
            call_id=call_id,
            category=category_of(name),
            parent_call_id=parent,
        )

    def _final(self, block: Json, message_id: str) -> Iterator[Payload]:
        match block.get("type"):
            case "text":
                words = text(block.get("text"))
                yield AssistantFinal(text=words, message_id=self._finished(message_id))
            case "thinking":
                yield ReasoningFinal(text=text(block.get("thinking")), item_id=self._finished(message_id))
            case _:
                pass

    def _finished(self, message_id: str) -> str:
        """The id that the deltas of this block carried; blocks finish in the order they were opened."""
        streaming = self._streaming
        if streaming.message_id == message_id and streaming.unfinished:
            return streaming.unfinished.pop(0)
        return message_id

    def _user(self, line: Json) -> Iterator[Payload]:
        for block in objects(obj(line.get("message")).get("content")):
            if block.get("type") == "tool_result":
                call_id = text(block.get("tool_use_id"))
                yield from changes(line, call_id, self._cwd)
                yield tool_result(block, line, self._tools.get(call_id, "unknown"))

    def _control(self, line: Json) -> Native:
        request = obj(line.get("request"))
        if request.get("subtype") != "can_use_tool" or not self._asks:
            return Native(raw=line)
        ask = ask_of(request, self._cwd)
        self._asked[text(line.get("request_id"))] = ask.key
        return Native(raw=line, ask=ask)

    def _system(self, line: Json) -> Native:
        subtype = line.get("subtype")
        if subtype == "session_state_changed":
            idle = line.get("state") == "idle" and self.settled
            return Native(raw=line, end=self.left().end if idle else None)
        if subtype == "background_tasks_changed":
            self.background = bool(objects(line.get("tasks")))
        if subtype == "init" and (thread := optional_text(line.get("session_id"))) != self._thread:
            self._thread = thread
            return Native(raw=line, thread=thread)
        return Native(raw=line, neutral=tuple(self._notices(line)))

    def _notices(self, line: Json) -> Iterator[Payload]:
        match line.get("subtype"):
            case "api_retry":
                yield Retrying(
                    message=_retry_message(line),
                    attempt=optional_number(line.get("attempt")),
                    delay_ms=optional_number(line.get("retry_delay_ms")),
                )
            case "permission_denied":
                yield Notice(level="warning", message=text(line.get("message")) or "Claude denied a tool.")
            case "compact_boundary":
                yield Notice(level="info", message="Claude summarised the conversation to make room.")
            case "task_started" if line.get("task_type") == "local_agent":
                yield self._subagent_started(line)
            case "task_notification":
                yield from self._subagent_ended(line, text(line.get("status")))
            case "task_updated" if text(obj(line.get("patch")).get("status")) in {"failed", "killed"}:
                yield from self._subagent_ended(line, text(obj(line.get("patch")).get("status")))
            case _:
                pass

    def _subagent_started(self, line: Json) -> SubagentStarted:
        task_id = text(line.get("task_id"))
        self._subagents.add(task_id)
        return SubagentStarted(
            subagent_id=task_id,
            description=optional_text(line.get("description")),
            call_id=optional_text(line.get("tool_use_id")),
        )

    def _subagent_ended(self, line: Json, status: str) -> Iterator[Payload]:
        task_id = text(line.get("task_id"))
        if task_id in self._subagents:
            self._subagents.discard(task_id)
            yield SubagentEnded(
                subagent_id=task_id,
                status="completed" if status == "completed" else "failed" if status == "failed" else "interrupted",
                summary=optional_text(line.get("summary")),
            )


def _retry_message(line: Json) -> str:
    status = line.get("error_status")
    what = text(line.get("error")).replace("_", " ") or "error"
    return f"The model call failed ({what}{f', HTTP {status}' if status else ''}); Claude tries again."

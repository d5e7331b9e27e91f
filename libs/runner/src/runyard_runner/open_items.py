"""What an agent has begun and not ended: messages, reasoning, tools, sub-agents. Pure.

An agent that is interrupted or dies leaves items without an end. The runner closes them, so that a
transcript never holds a tool that runs for ever.
"""

from dataclasses import dataclass, field

from runyard_events.catalogue import (
    AnyPayload,
    AssistantDelta,
    AssistantFinal,
    ReasoningDelta,
    ReasoningFinal,
    SubagentEnded,
    SubagentStarted,
    ToolCall,
    ToolOutputDelta,
    ToolResult,
)

PREVIEW = 16 * 1024
"""Characters of live output kept for the result of a tool that never gave one."""


@dataclass(slots=True)
class _Text:
    parts: list[str] = field(default_factory=list[str])
    size: int = 0

    def add(self, text: str, limit: int | None = None) -> None:
        if limit is None or self.size < limit:
            self.parts.append(text if limit is None else text[: limit - self.size])
            self.size += len(text)

    def __str__(self) -> str:
        return "".join(self.parts)


@dataclass(slots=True)
class OpenItems:
    """Fold of a run's `ui` events; `closing` says what has to be appended to leave nothing open."""

    _messages: dict[str | None, _Text] = field(default_factory=dict[str | None, _Text])
    _reasoning: dict[str | None, _Text] = field(default_factory=dict[str | None, _Text])
    _tools: dict[str | None, ToolCall] = field(default_factory=dict[str | None, ToolCall])
    _output: dict[str | None, _Text] = field(default_factory=dict[str | None, _Text])
    _subagents: dict[str, SubagentStarted] = field(default_factory=dict[str, SubagentStarted])

    def observe(self, payload: AnyPayload) -> None:
        """Take note of one event."""
        match payload:
            case AssistantDelta(message_id=key, text_delta=text):
                self._messages.setdefault(key, _Text()).add(text)
            case AssistantFinal(message_id=key):
                self._messages.pop(key, None)
            case ReasoningDelta(item_id=key, text_delta=text):
                self._reasoning.setdefault(key, _Text()).add(text)
            case ReasoningFinal(item_id=key):
                self._reasoning.pop(key, None)
            case ToolOutputDelta(call_id=key, text_delta=text):
                self._output.setdefault(key, _Text()).add(text, PREVIEW)
            case ToolCall(call_id=key):
                self._tools[key] = payload
            case ToolResult(call_id=key):
                self._tools.pop(key, None)
                self._output.pop(key, None)
            case SubagentStarted(subagent_id=name):
                self._subagents[name] = payload
            case SubagentEnded(subagent_id=name):
                self._subagents.pop(name, None)
            case _:
                pass

    @property
    def commands(self) -> bool:
        """A tool is still running."""
        return bool(self._tools)

    def closing(self) -> tuple[AnyPayload, ...]:
        """The ends that are missing, in the order of the beginnings; nothing is open afterwards."""
        ends: list[AnyPayload] = []
        ends += [ReasoningFinal(text=str(text), item_id=key) for key, text in self._reasoning.items()]
        ends += [
            AssistantFinal(text=str(text), message_id=key, interrupted=True) for key, text in self._messages.items()
        ]
        ends += [
            ToolResult(
                tool_name=call.tool_name,
                call_id=key,
                output=str(self._output.get(key, "")),
                status="interrupted",
            )
            for key, call in self._tools.items()
        ]
        ends += [SubagentEnded(subagent_id=name, status="interrupted") for name in self._subagents]
        self._messages.clear()
        self._reasoning.clear()
        self._tools.clear()
        self._output.clear()
        self._subagents.clear()
        return tuple(ends)

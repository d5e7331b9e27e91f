"""The neutral transcript: what every agent says, in one vocabulary. Written by runners.

`call_id`, `message_id` and `item_id` are the agent's own identifiers, unique within a run; deltas
and finals of one item share it.
"""

from typing import Any, ClassVar, Literal

from runyard_events.catalogue.base import Family, Payload
from runyard_events.catalogue.run import Answer, AskKind

ToolCategory = Literal["command", "file_change", "read", "search", "web", "mcp", "subagent", "plan", "other"]
ToolStatus = Literal["completed", "failed", "declined", "interrupted"]


class Ui(Payload):
    """A line of the transcript."""

    FAMILY: ClassVar[Family] = "ui"


class UiRunStarted(Ui):
    TYPE: ClassVar[str] = "ui.run.started"
    session_id: str


class UiRunCompleted(Ui):
    TYPE: ClassVar[str] = "ui.run.completed"


class UiRunError(Ui):
    TYPE: ClassVar[str] = "ui.run.error"
    message: str
    reason: str | None = None


class UiRunCancelled(Ui):
    TYPE: ClassVar[str] = "ui.run.cancelled"
    message: str | None = None


class UiMessageUser(Ui):
    """What a person said: the prompt, or words added to a running turn (`steering`)."""

    TYPE: ClassVar[str] = "ui.message.user"
    text: str
    steering: bool = False


class AssistantDelta(Ui):
    TYPE: ClassVar[str] = "ui.message.assistant.delta"
    text_delta: str
    message_id: str | None = None


class AssistantFinal(Ui):
    """The whole message; `interrupted` when the runner closed it because the agent could not."""

    TYPE: ClassVar[str] = "ui.message.assistant.final"
    text: str
    format: Literal["markdown", "text"] = "markdown"
    message_id: str | None = None
    interrupted: bool = False


class ReasoningDelta(Ui):
    TYPE: ClassVar[str] = "ui.reasoning.delta"
    text_delta: str
    item_id: str | None = None


class ReasoningFinal(Ui):
    TYPE: ClassVar[str] = "ui.reasoning.final"
    text: str
    item_id: str | None = None


class ToolCall(Ui):
    """The agent began to use a tool."""

    TYPE: ClassVar[str] = "ui.tool.call"
    tool_name: str
    input: Any
    call_id: str | None = None
    category: ToolCategory = "other"
    parent_call_id: str | None = None


class ToolArgumentsDelta(Ui):
    TYPE: ClassVar[str] = "ui.tool.arguments.delta"
    text_delta: str
    call_id: str | None = None


class ToolOutputDelta(Ui):
    """Live output of a running command."""

    TYPE: ClassVar[str] = "ui.tool.output.delta"
    text_delta: str
    call_id: str | None = None


class ToolResult(Ui):
    """The tool is done. Output over 64 KB is a preview here and whole in the object store (`output_ref`)."""

    TYPE: ClassVar[str] = "ui.tool.result"
    tool_name: str
    output: Any
    call_id: str | None = None
    status: ToolStatus = "completed"
    exit_code: int | None = None
    duration_ms: int | None = None
    truncated: bool = False
    output_ref: str | None = None
    output_bytes: int | None = None


class FileChanged(Ui):
    """The agent changed a file; `diff` is unified where the agent gave one."""

    TYPE: ClassVar[str] = "ui.file.changed"
    path: str
    change: Literal["add", "update", "delete", "move"]
    diff: str | None = None
    moved_to: str | None = None
    call_id: str | None = None


class DiffUpdated(Ui):
    """All changes since the start of the turn, as one unified diff."""

    TYPE: ClassVar[str] = "ui.diff.updated"
    diff: str


class PlanStep(Payload):
    TYPE: ClassVar[str] = "plan.step"
    FAMILY: ClassVar[Family] = "ui"
    text: str
    status: Literal["pending", "in_progress", "completed"]


class PlanUpdated(Ui):
    TYPE: ClassVar[str] = "ui.plan.updated"
    steps: tuple[PlanStep, ...]
    explanation: str | None = None


class UsageUpdated(Ui):
    """Tokens used so far, by the agent's own count. `scope` says whether of this turn or of the whole thread."""

    TYPE: ClassVar[str] = "ui.usage.updated"
    scope: Literal["call", "turn", "thread"]
    input_tokens: int = 0
    output_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    context_window: int | None = None


class ApprovalRequested(Ui):
    TYPE: ClassVar[str] = "ui.approval.requested"
    approval_id: str
    ask_kind: AskKind
    title: str
    detail: dict[str, Any]
    options: tuple[Answer, ...]
    questions: tuple[dict[str, Any], ...] = ()


class ApprovalResolved(Ui):
    TYPE: ClassVar[str] = "ui.approval.resolved"
    approval_id: str
    decision: Answer
    answers: dict[str, Any] | None = None
    message: str | None = None
    resolved_by: str | None = None


class SubagentStarted(Ui):
    TYPE: ClassVar[str] = "ui.subagent.started"
    subagent_id: str
    description: str | None = None
    call_id: str | None = None


class SubagentEnded(Ui):
    TYPE: ClassVar[str] = "ui.subagent.ended"
    subagent_id: str
    status: Literal["completed", "failed", "interrupted"]
    summary: str | None = None


class UiError(Ui):
    """Something went wrong inside the turn; `will_retry` when the agent goes on by itself."""

    TYPE: ClassVar[str] = "ui.error"
    message: str
    code: str | None = None
    will_retry: bool = False


class Retrying(Ui):
    TYPE: ClassVar[str] = "ui.retry"
    message: str
    attempt: int | None = None
    delay_ms: int | None = None


class Notice(Ui):
    TYPE: ClassVar[str] = "ui.notice"
    level: Literal["info", "warning"]
    message: str

"""The lifecycle of a run. Decided by orchestrator; started and ended by the runner that holds the lease.

Every event here is appended by compare-and-set on the run's lifecycle subject, so exactly one of
`run.completed`, `run.error` and `run.cancelled` ends it and nothing follows on that subject.
"""

from typing import Any, ClassVar, Literal

from runyard_events.catalogue.base import Family, Payload
from runyard_events.catalogue.sandbox import Method
from runyard_events.catalogue.session import ApprovalPolicy

ErrorReason = Literal[
    "agent_error",
    "model_error",
    "runner_lost",
    "time_limit",
    "start_failed",
    "sandbox_failed",
    "workspace_lost",
    "internal",
]
AskKind = Literal["command", "file_change", "tool", "question"]
Answer = Literal["accept", "accept_for_session", "decline", "cancel"]


class Usage(Payload):
    """Tokens as the agent counted them. Cost is never taken from the agent (see `llm.call.completed`)."""

    TYPE: ClassVar[str] = "usage"
    FAMILY: ClassVar[Family] = "ui"
    input_tokens: int = 0
    output_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0


class RunRequested(Payload):
    """A prompt was accepted."""

    TYPE: ClassVar[str] = "run.requested"
    FAMILY: ClassVar[Family] = "lifecycle"
    prompt: str
    workspace_id: str
    runner_type: str
    approval_policy: ApprovalPolicy = "never"
    model: str | None = None
    time_limit_seconds: int = 3600
    requested_by: str | None = None
    idempotency_key: str | None = None
    request_hash: str | None = None


class RunDispatched(Payload):
    """The run is the session's active one and was handed to the runners of its type.

    `method` says where. A second one takes it back from a sandbox that could not be had; `reason` says why.
    """

    TYPE: ClassVar[str] = "run.dispatched"
    FAMILY: ClassVar[Family] = "lifecycle"
    VERSION: ClassVar[int] = 2
    runner_type: str
    method: Method = "process"
    reason: str | None = None


class RunStarted(Payload):
    """A runner took the run: the agent's thread is open and the prompt is with the agent."""

    TYPE: ClassVar[str] = "run.started"
    FAMILY: ClassVar[Family] = "lifecycle"
    runner_id: str
    attempt: int
    native_thread_id: str | None = None
    model: str | None = None


class RunResumed(Payload):
    """Another runner (or the same, restarted) took the run up again where the last one died."""

    TYPE: ClassVar[str] = "run.resumed"
    FAMILY: ClassVar[Family] = "lifecycle"
    runner_id: str
    attempt: int
    native_thread_id: str | None = None
    reason: str


class RunThreadBound(Payload):
    """The agent's own thread became known after the run had started."""

    TYPE: ClassVar[str] = "run.thread_bound"
    FAMILY: ClassVar[Family] = "lifecycle"
    native_thread_id: str


class RunCancelRequested(Payload):
    """Somebody asked the run to stop; the runner that holds it ends it."""

    TYPE: ClassVar[str] = "run.cancel_requested"
    FAMILY: ClassVar[Family] = "lifecycle"
    requested_by: str | None = None
    reason: str | None = None


class RunSteerRequested(Payload):
    """Somebody added words to a running turn."""

    TYPE: ClassVar[str] = "run.steer_requested"
    FAMILY: ClassVar[Family] = "lifecycle"
    text: str
    requested_by: str | None = None


class RunApprovalRequested(Payload):
    """The agent waits for a person. `fingerprint` recognises the same question after a restart."""

    TYPE: ClassVar[str] = "run.approval_requested"
    FAMILY: ClassVar[Family] = "lifecycle"
    approval_id: str
    ask_kind: AskKind
    title: str
    detail: dict[str, Any]
    options: tuple[Answer, ...]
    questions: tuple[dict[str, Any], ...] = ()
    fingerprint: str


class RunApprovalResolved(Payload):
    """The first answer to an approval; later ones change nothing."""

    TYPE: ClassVar[str] = "run.approval_resolved"
    FAMILY: ClassVar[Family] = "lifecycle"
    approval_id: str
    decision: Answer
    answers: dict[str, Any] | None = None
    message: str | None = None
    resolved_by: str | None = None


class RunCompleted(Payload):
    """The agent finished its turn."""

    TYPE: ClassVar[str] = "run.completed"
    FAMILY: ClassVar[Family] = "lifecycle"
    duration_ms: int | None = None
    usage: Usage | None = None
    final_text: str | None = None


class RunError(Payload):
    """The run ended without an answer; `message` is for people, `reason` for programs."""

    TYPE: ClassVar[str] = "run.error"
    FAMILY: ClassVar[Family] = "lifecycle"
    reason: ErrorReason
    message: str
    duration_ms: int | None = None
    usage: Usage | None = None


class RunCancelled(Payload):
    """The run was stopped because somebody asked for it."""

    TYPE: ClassVar[str] = "run.cancelled"
    FAMILY: ClassVar[Family] = "lifecycle"
    requested_by: str | None = None
    reason: str | None = None
    duration_ms: int | None = None
    usage: Usage | None = None


TERMINAL = (RunCompleted, RunError, RunCancelled)
TERMINAL_TYPES = frozenset(payload.TYPE for payload in TERMINAL)

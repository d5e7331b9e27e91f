"""What the orchestrator is asked for about sessions and runs."""

from typing import Any, ClassVar

from runyard_events.catalogue import Answer, ApprovalPolicy
from runyard_events.commands.payload import CommandPayload


class CreateSession(CommandPayload):
    TYPE: ClassVar[str] = "orchestrator.create-session"
    SUBJECT: ClassVar[str] = "cmd.orchestrator.create-session"
    session_id: str
    workspace_id: str
    runner_type: str
    approval_policy: ApprovalPolicy = "never"
    model: str | None = None
    title: str | None = None
    idempotency_key: str | None = None
    request_hash: str | None = None


class DeleteSession(CommandPayload):
    TYPE: ClassVar[str] = "orchestrator.delete-session"
    SUBJECT: ClassVar[str] = "cmd.orchestrator.delete-session"
    session_id: str


class RequestRun(CommandPayload):
    TYPE: ClassVar[str] = "orchestrator.request-run"
    SUBJECT: ClassVar[str] = "cmd.orchestrator.request-run"
    session_id: str
    run_id: str
    prompt: str
    time_limit_seconds: int | None = None
    idempotency_key: str | None = None
    request_hash: str | None = None


class CancelRun(CommandPayload):
    TYPE: ClassVar[str] = "orchestrator.cancel-run"
    SUBJECT: ClassVar[str] = "cmd.orchestrator.cancel-run"
    session_id: str
    run_id: str
    reason: str | None = None


class SteerRun(CommandPayload):
    TYPE: ClassVar[str] = "orchestrator.steer-run"
    SUBJECT: ClassVar[str] = "cmd.orchestrator.steer-run"
    session_id: str
    run_id: str
    text: str


class AnswerApproval(CommandPayload):
    TYPE: ClassVar[str] = "orchestrator.answer-approval"
    SUBJECT: ClassVar[str] = "cmd.orchestrator.answer-approval"
    session_id: str
    run_id: str
    approval_id: str
    decision: Answer
    answers: dict[str, Any] | None = None
    message: str | None = None

"""Commands: what services ask of each other. A work queue keeps them until somebody has carried them out.

A command is not history; what happened because of it is. Whoever needs an answer names an inbox in
`reply_to`, and gets a `Reply` when the events of the command stand in the log.
"""

import asyncio
import json
from datetime import UTC, datetime
from typing import Any, ClassVar, Generic, Literal, TypeVar

from nats.aio.client import Client
from nats.errors import Error as NatsError
from pydantic import Field, ValidationError

from runyard_events.catalogue import Answer, ApprovalPolicy
from runyard_events.errors import CommandTimeout, EventError, LogUnavailable, Malformed
from runyard_events.ids import new_id
from runyard_events.model import Wire


class CommandPayload(Wire):
    """The content of a command; `SUBJECT` is where it is queued, `TYPE` its name."""

    TYPE: ClassVar[str]
    SUBJECT: ClassVar[str]


class ImportWorkspace(CommandPayload):
    TYPE: ClassVar[str] = "workspace.import"
    SUBJECT: ClassVar[str] = "cmd.workspace.import"
    workspace_id: str
    source_type: Literal["github", "git", "local"]
    source_uri: str
    display_name: str
    idempotency_key: str | None = None
    request_hash: str | None = None


class OpenWorktree(CommandPayload):
    TYPE: ClassVar[str] = "workspace.open-worktree"
    SUBJECT: ClassVar[str] = "cmd.workspace.open-worktree"
    workspace_id: str
    session_id: str


class RemoveWorktree(CommandPayload):
    TYPE: ClassVar[str] = "workspace.remove-worktree"
    SUBJECT: ClassVar[str] = "cmd.workspace.remove-worktree"
    workspace_id: str
    session_id: str


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


class StartRun(CommandPayload):
    """Everything a runner needs to begin a run; its subject ends in the runner's type."""

    TYPE: ClassVar[str] = "runner.start"
    SUBJECT: ClassVar[str] = "cmd.runner.{runner_type}.start"
    session_id: str
    run_id: str
    workspace_id: str
    runner_type: str
    prompt: str
    thread_id: str
    native_thread_id: str | None = None
    working_directory: str
    approval_policy: ApprovalPolicy = "never"
    model: str | None = None
    time_limit_seconds: int = 3600


COMMANDS_BY_TYPE: dict[str, type[CommandPayload]] = {
    payload.TYPE: payload
    for payload in (
        ImportWorkspace,
        OpenWorktree,
        RemoveWorktree,
        CreateSession,
        DeleteSession,
        RequestRun,
        CancelRun,
        SteerRun,
        AnswerApproval,
        StartRun,
    )
}

P = TypeVar("P", bound=CommandPayload)


class Command(Wire, Generic[P]):
    """A command on its way. `actor` is the user id, or `service:<name>`."""

    id: str = Field(default_factory=new_id)
    tenant_id: str
    actor: str | None = None
    type: str
    at: datetime = Field(default_factory=lambda: datetime.now(UTC))
    correlation_id: str | None = None
    traceparent: str | None = None
    reply_to: str | None = None
    payload: P

    @property
    def subject(self) -> str:
        """The subject that it is queued on."""
        return self.payload.SUBJECT.format(runner_type=getattr(self.payload, "runner_type", ""))


class ReplyProblem(Wire):
    """Why a command was refused, in the fields of RFC 9457."""

    status: int
    type: str
    title: str
    detail: str


class Reply(Wire):
    """The answer to a command. `seq` is the stream sequence of the last event that it caused."""

    ok: bool
    result: dict[str, Any] = Field(default_factory=dict)
    seq: int | None = None
    problem: ReplyProblem | None = None


def command(
    payload: P,
    *,
    tenant_id: str,
    actor: str | None = None,
    command_id: str | None = None,
    correlation_id: str | None = None,
    traceparent: str | None = None,
) -> Command[P]:
    """Makes a command of a payload. A given `command_id` makes sending it twice the same as once (2 minutes)."""
    return Command[type(payload)](  # type: ignore[misc]
        id=command_id or new_id(),
        tenant_id=tenant_id,
        actor=actor,
        type=payload.TYPE,
        correlation_id=correlation_id,
        traceparent=traceparent,
        payload=payload,
    )


def decode_command(data: bytes) -> Command[Any]:
    """A command from the queue's bytes.

    Raises:
        Malformed: not a command of this contract.
    """
    try:
        raw: dict[str, Any] = json.loads(data)
        model = COMMANDS_BY_TYPE[raw["type"]]
        return Command[model].model_validate(raw)  # type: ignore[valid-type]
    except (ValueError, KeyError, TypeError) as error:
        detail = error.errors(include_input=False)[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise Malformed(f"not a command: {detail}") from error


class CommandBus:
    """Sends commands and waits for their answers."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def send(self, one: Command[Any]) -> None:
        """Queues a command durably.

        Raises:
            LogUnavailable: it is not known whether the command was queued.
        """
        try:
            answer = await self._client.request(
                one.subject, one.model_dump_json().encode(), timeout=5, headers={"Nats-Msg-Id": one.id}
            )
        except (NatsError, TimeoutError) as error:
            raise LogUnavailable(f"the command queue does not answer: {error}") from error
        body: dict[str, Any] = json.loads(answer.data)
        if "error" in body:
            raise EventError(f"the command queue refused: {body['error'].get('description')}")

    async def request(self, one: Command[Any], *, timeout: float = 15.0) -> Reply:  # noqa: ASYNC109
        """Queues a command and waits for its reply, at most `timeout` seconds.

        Raises:
            CommandTimeout: queued, but not answered in time; it may still be carried out.
            LogUnavailable: it is not known whether the command was queued.
        """
        inbox = self._client.new_inbox()
        subscription = await self._client.subscribe(inbox, max_msgs=1)
        try:
            await self.send(one.model_copy(update={"reply_to": inbox}))
            message = await subscription.next_msg(timeout=timeout)
            return Reply.model_validate_json(message.data)
        except NatsError as error:
            raise CommandTimeout(f"no answer to {one.type} within {timeout:g} s") from error
        finally:
            await self._forget(subscription)

    async def reply(self, one: Command[Any], reply: Reply) -> None:
        """Answers a command whose sender waits; without an inbox nothing happens."""
        if one.reply_to:
            await self._client.publish(one.reply_to, reply.model_dump_json().encode())

    @staticmethod
    async def _forget(subscription: Any) -> None:
        try:
            async with asyncio.timeout(1):
                await subscription.unsubscribe()
        except (NatsError, TimeoutError):
            return

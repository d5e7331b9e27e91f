"""A command on its way, its answer, and their bytes."""

import json
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from pydantic import Field, ValidationError

from runyard_events.commands.payload import CommandPayload
from runyard_events.commands.registry import COMMANDS_BY_TYPE
from runyard_events.errors import Malformed
from runyard_events.ids import new_id
from runyard_events.model import Wire

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
        return self.payload.subject()


class ReplyProblem(Wire):
    """Why a command was refused, in the fields of RFC 9457."""

    status: int
    type: str
    title: str
    detail: str
    extra: dict[str, Any] = Field(default_factory=dict)
    """Further members of the problem."""


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

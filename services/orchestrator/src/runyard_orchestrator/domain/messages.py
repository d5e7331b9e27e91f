"""What a container that speaks HTTP says about its run, as events: checked against the catalogue. Pure."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from runyard_events.catalogue import (
    BY_TYPE,
    AnyPayload,
    ApprovalRequested,
    RunApprovalRequested,
    RunCancelled,
    RunCompleted,
    RunError,
    RunResumed,
    RunStarted,
    ToolResult,
    UiRunCancelled,
    UiRunCompleted,
    UiRunError,
    UiRunStarted,
)
from runyard_orchestrator.domain.facts import Refusal

Found = tuple[AnyPayload, ...] | Refusal
LONGEST_MESSAGE = 256 * 1024
LONGEST_ID = 128
_OURS = frozenset(
    {
        "ui.run.started",
        "ui.run.completed",
        "ui.run.error",
        "ui.run.cancelled",
        "ui.message.user",
        "ui.approval.resolved",
    }
)
"""Lines of the transcript that follow from what people and lifecycle events say."""
_FIRST = (UiRunStarted, RunStarted, UiRunError, RunError, UiRunCancelled, RunCancelled)
"""What may be said of a run that has not begun."""
_BLAMABLE = frozenset({"agent_error", "model_error", "start_failed"})


def events_of(  # noqa: PLR0911 - one per kind of message
    message: Mapping[str, Any], *, tenant_id: str, session_id: str, run_id: str, attempt: int
) -> Found:
    """The events of one message, the lifecycle event last; or why it is none (`Refusal`).

    `attempt` is the number of the attempt that a `run.started` begins.
    """
    name, given = message.get("type"), message.get("payload", {})
    problem = _malformed(message)
    if problem is not None:
        return problem
    try:
        match name:
            case "run.started":
                return _started(given, session_id, attempt)
            case "run.completed":
                return (UiRunCompleted(), RunCompleted.model_validate(given))
            case "run.error":
                return _failed(given)
            case "run.cancelled":
                cancelled = RunCancelled.model_validate(given)
                return (UiRunCancelled(message=cancelled.reason), cancelled)
            case _:
                return _said(str(name), given, f"{tenant_id}/{run_id}/")
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        return Refusal(422, "message-payload", f"The payload of {name} is not right: {place}: {first['msg']}")


def out_of_order(payload: AnyPayload, *, is_started: bool, is_ended: bool) -> Refusal | None:
    """Why an event cannot come now."""
    if is_ended:
        return Refusal(409, "run-ended", "The run has ended; nothing can be said about it any more.")
    if not is_started and not isinstance(payload, _FIRST):
        return Refusal(409, "run-not-started", "Say run.started first.")
    return None


def _malformed(message: Mapping[str, Any]) -> Refusal | None:
    identity, name, given = message.get("id"), message.get("type"), message.get("payload", {})
    if not isinstance(identity, str) or not 0 < len(identity) <= LONGEST_ID:
        return Refusal(422, "message-malformed", f"A message has an id: a text of at most {LONGEST_ID} characters.")
    if not isinstance(name, str) or not isinstance(given, dict):
        return Refusal(422, "message-malformed", "A message has a type (a text) and a payload (an object).")
    if not message.keys() <= {"id", "type", "payload"}:
        return Refusal(422, "message-malformed", "A message has an id, a type and a payload, and nothing else.")
    if len(json.dumps(given)) > LONGEST_MESSAGE:
        text = f"A payload has at most {LONGEST_MESSAGE} bytes; put larger results into the outputs."
        return Refusal(422, "message-too-large", text)
    return None


def _started(given: Mapping[str, Any], session_id: str, attempt: int) -> tuple[AnyPayload, ...]:
    values = {**given, "attempt": attempt, "runner_id": f"external-{session_id[:8]}"}
    values.pop("runnerId", None)
    twin = UiRunStarted(session_id=session_id)
    if attempt == 1:
        return (twin, RunStarted.model_validate(values))
    values.pop("model", None)
    return (twin, RunResumed.model_validate({**values, "reason": "runner_restarted"}))


def _failed(given: Mapping[str, Any]) -> Found:
    error = RunError.model_validate({"reason": "agent_error", **given})
    if error.reason not in _BLAMABLE:
        known = ", ".join(sorted(_BLAMABLE))
        return Refusal(422, "message-payload", f"A runner may end its run for one of: {known}.")
    return (UiRunError(message=error.message, reason=error.reason), error)


def _said(name: str, given: Mapping[str, Any], own_outputs: str) -> Found:
    model = BY_TYPE.get(name)
    if model is None or model.FAMILY != "ui" or not name.startswith("ui.") or name in _OURS:
        return Refusal(422, "message-type", f"A runner does not say {name[:100]}.")
    payload = model.model_validate(given)
    if isinstance(payload, ToolResult) and not (payload.output_ref or own_outputs).startswith(own_outputs):
        return Refusal(422, "message-payload", "outputRef is not of this run.")
    if isinstance(payload, ApprovalRequested):
        return (payload, RunApprovalRequested(**payload.model_dump(), fingerprint=_fingerprint(payload)))
    return (payload,)


def _fingerprint(asked: ApprovalRequested) -> str:
    content = {"kind": asked.ask_kind, "detail": asked.detail, "questions": asked.questions}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]

"""How a run ends: one lifecycle event and its twin. Pure."""

from collections.abc import Sequence

from runyard_events.catalogue import (
    AnyPayload,
    RunCancelled,
    RunCompleted,
    RunError,
    UiRunCancelled,
    UiRunCompleted,
    UiRunError,
)
from runyard_runner.adapter import TurnEnd
from runyard_runner.control import Cancelled, Interruption, TimeIsUp

FINAL_TEXT = 32 * 1024


def ending(
    end: TurnEnd | None, interruption: Interruption | None, *, duration_ms: int, time_limit: int
) -> Sequence[AnyPayload]:
    """The last events of a run, its lifecycle event at the very end.

    A turn that completed is completed, also when somebody asked to stop it a moment before. `end` None:
    the agent was killed before it could end its turn.
    """
    usage = end.usage if end else None
    if end and end.status == "completed":
        text = end.final_text[:FINAL_TEXT] if end.final_text else None
        return (UiRunCompleted(), RunCompleted(duration_ms=duration_ms, usage=usage, final_text=text))
    match interruption:
        case Cancelled(requested_by, reason):
            return (
                UiRunCancelled(message=reason),
                RunCancelled(requested_by=requested_by, reason=reason, duration_ms=duration_ms, usage=usage),
            )
        case TimeIsUp():
            message = f"The run took longer than its limit of {time_limit} s."
            return _error("time_limit", message, duration_ms, end)
        case _:
            message = (end and end.message) or "The agent stopped without an answer."
            return _error((end and end.reason) or "agent_error", message, duration_ms, end)


def _error(reason: str, message: str, duration_ms: int, end: TurnEnd | None) -> Sequence[AnyPayload]:
    error = RunError.model_validate(
        {"reason": reason, "message": message, "duration_ms": duration_ms, "usage": end.usage if end else None}
    )
    return (UiRunError(message=message, reason=reason), error)

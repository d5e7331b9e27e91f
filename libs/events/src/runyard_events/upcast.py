"""Old payloads become new ones, step by step, as plain dictionaries before they are validated.

An upcaster takes version n of a type to version n + 1. Nothing in the log is ever rewritten.
"""

from collections.abc import Callable, Mapping
from typing import Any

from runyard_events.errors import Malformed

Upcaster = Callable[[dict[str, Any]], dict[str, Any]]


def _dispatched_to_a_process(payload: dict[str, Any]) -> dict[str, Any]:
    return {**payload, "method": "process"}


def _prepared_at_its_path(payload: dict[str, Any]) -> dict[str, Any]:
    return {**payload, "folder": ""}


_REASONS = {"run": "prompt", "user": "user", "recovery": "replaced", "pool": "pool"}


def _requested_for_a_purpose(payload: dict[str, Any]) -> dict[str, Any]:
    return {**payload, "reason": _REASONS.get(str(payload.get("purpose")))}


def _without_a_reason(payload: dict[str, Any]) -> dict[str, Any]:
    return {**payload, "reason": None}


def _without_a_runtime(payload: dict[str, Any]) -> dict[str, Any]:
    return {**payload, "runtime": None}


UPCASTERS: Mapping[tuple[str, int], Upcaster] = {
    # Before there were sandboxes every run went to a process.
    ("run.dispatched", 1): _dispatched_to_a_process,
    # The path of an image's files was all that was said of where they are.
    ("preview.prepared", 1): _prepared_at_its_path,
    # A request's purpose was all that was said of why a container is made.
    ("sandbox.requested", 1): _requested_for_a_purpose,
    ("sandbox.creating", 1): _without_a_reason,
    ("sandbox.creating", 2): _without_a_runtime,
    ("sandbox.running", 1): _without_a_reason,
}
"""By (type, version that it starts from)."""


def upcast(
    event_type: str,
    version: int,
    payload: Any,
    *,
    current: int,
    upcasters: Mapping[tuple[str, int], Upcaster] = UPCASTERS,
) -> Any:
    """Takes a payload from its stored version to the current one.

    Raises:
        Malformed: a step of the chain is missing.
    """
    while version < current:
        step = upcasters.get((event_type, version))
        if step is None:
            raise Malformed(f"no upcaster for {event_type} version {version}")
        payload = step(payload)
        version += 1
    return payload

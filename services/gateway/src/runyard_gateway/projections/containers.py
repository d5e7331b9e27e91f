"""Rows of containers out of what is told of sandboxes, and a team's rules for them.

A session has one row for as long as it lives: the containers behind it are counted by `epoch`.
"""

from typing import Any

from sqlalchemy import Executable
from sqlalchemy.dialects.postgresql import insert

from runyard_events.catalogue import (
    SandboxCreating,
    SandboxDeleted,
    SandboxError,
    SandboxPaused,
    SandboxRequested,
    SandboxRulesChanged,
    SandboxRunning,
    SandboxStopped,
)
from runyard_events.stored import StoredEvent
from runyard_gateway.projections.rows import storable, storable_values
from runyard_gateway.projections.tables import container_environments, sandbox_rules

_Told = (
    SandboxRequested | SandboxCreating | SandboxRunning | SandboxPaused | SandboxStopped | SandboxError | SandboxDeleted
)
_AT_REST = {SandboxPaused: "paused", SandboxStopped: "stopped", SandboxDeleted: "deleted"}
_UNHURT: dict[str, Any] = {"reason": None, "message": None, "exit_code": None, "log_tail": []}


def container_rows(stored: StoredEvent) -> list[Executable]:
    """The statements that an event of a session's sandbox amounts to."""
    payload = stored.event.payload
    if not isinstance(payload, _Told):
        return []
    changed = storable_values({"epoch": payload.epoch, "updated_at": stored.event.at, **_values(payload)})
    first: dict[str, Any] = {
        "id": stored.address.aggregate_id,
        "tenant_id": stored.address.tenant_id,
        "container_type": "agent",
        "session_id": stored.address.session_id,
        "method": "process",
        "warm": False,
        "log_tail": [],
        "created_at": stored.event.at,
        "first_seq": stored.stream_seq,
    }
    statement = insert(container_environments).values({**first, **changed})
    return [statement.on_conflict_do_update(index_elements=["id"], set_=changed)]


def _values(payload: _Told) -> dict[str, Any]:
    match payload:
        case SandboxRequested() as asked:
            return {"status": "creating", "method": asked.method, **_UNHURT, "reason": asked.reason}
        case SandboxCreating() as made:
            values = {"method": made.method, "container_name": made.name, "image": made.image}
            unknown = {"native_id": None, "took_ms": None, "warm": False}
            return {"status": "creating", **values, **unknown, **_UNHURT, "reason": made.reason}
        case SandboxRunning() as running:
            values = {"method": running.method, "container_name": running.name, "native_id": running.native_id}
            seen = {"took_ms": running.took_ms, "warm": running.warm}
            return {"status": "running", **values, **seen, **_UNHURT, "reason": running.reason}
        case SandboxPaused() | SandboxStopped() | SandboxDeleted() as ended:
            return {**_UNHURT, "status": _AT_REST[type(ended)], "reason": ended.reason}
        case SandboxError() as failed:
            tail = [storable(line) for line in failed.log_tail]
            values = {"message": failed.message, "exit_code": failed.exit_code, "log_tail": tail}
            return {"status": "error", "reason": failed.reason, **values}


def rules_rows(stored: StoredEvent) -> list[Executable]:
    """The statement that a change of a team's rules amounts to."""
    changed = stored.event.payload
    if not isinstance(changed, SandboxRulesChanged):
        return []
    values = {
        "rules": changed.rules.model_dump(mode="json", by_alias=False),
        "changed_by": changed.changed_by,
        "changed_at": stored.event.at,
        "changed_seq": stored.stream_seq,
    }
    statement = insert(sandbox_rules).values(storable_values({"tenant_id": stored.address.tenant_id, **values}))
    return [statement.on_conflict_do_update(index_elements=["tenant_id"], set_=storable_values(values))]

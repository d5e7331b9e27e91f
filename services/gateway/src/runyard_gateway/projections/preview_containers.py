"""Rows of the containers that previews are served from, beside those of sessions."""

from typing import Any

from sqlalchemy import Executable
from sqlalchemy.dialects.postgresql import insert

from runyard_events.catalogue import (
    PreviewDeleted,
    PreviewFailed,
    PreviewReady,
    PreviewRequested,
    PreviewStarting,
    PreviewStopped,
)
from runyard_events.stored import StoredEvent
from runyard_gateway.projections.rows import storable, storable_values
from runyard_gateway.projections.tables import container_environments

_UNHURT: dict[str, Any] = {"reason": None, "message": None, "exit_code": None, "log_tail": []}


def preview_container_rows(stored: StoredEvent) -> list[Executable]:
    """The statements that a preview's lifecycle event amounts to."""
    payload = stored.event.payload
    if isinstance(payload, PreviewRequested):
        return [_requested(stored, payload)]
    values = _values(payload)
    if values is None:
        return []
    mine = container_environments.c.id == stored.address.aggregate_id
    changed = storable_values({"updated_at": stored.event.at, **values})
    return [container_environments.update().where(mine).values(changed)]


def _requested(stored: StoredEvent, asked: PreviewRequested) -> Executable:
    values: dict[str, Any] = {
        "id": stored.address.aggregate_id,
        "tenant_id": stored.address.tenant_id,
        "container_type": "preview",
        "status": "creating",
        "session_id": asked.session_id,
        "workspace_id": asked.workspace_id,
        "epoch": 0,
        "method": "process",
        "warm": False,
        "log_tail": [],
        "created_at": stored.event.at,
        "updated_at": stored.event.at,
        "first_seq": stored.stream_seq,
    }
    again = {"status": "creating", "updated_at": stored.event.at, **_UNHURT}
    statement = insert(container_environments).values(storable_values(values))
    return statement.on_conflict_do_update(index_elements=["id"], set_=again)


def _values(payload: object) -> dict[str, Any] | None:
    match payload:
        case PreviewStarting() as starting:
            names = {"container_name": starting.container_name, "port": starting.port, "epoch": starting.generation}
            return {"status": "creating", "method": starting.method, **names, "took_ms": None, **_UNHURT}
        case PreviewReady() as ready:
            return {"status": "running", "took_ms": ready.took_ms, **_UNHURT}
        case PreviewFailed() as failed:
            tail = [storable(line) for line in failed.log_tail]
            values = {"message": failed.message, "exit_code": failed.exit_code, "log_tail": tail}
            return {"status": "error", "reason": failed.reason, **values}
        case PreviewStopped() as stopped:
            return {"status": "stopped", **_UNHURT, "reason": stopped.reason}
        case PreviewDeleted():
            return {"status": "deleted", **_UNHURT}
        case _:
            return None

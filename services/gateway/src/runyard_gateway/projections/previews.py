"""Rows of previews and of the links to them."""

from typing import Any

from sqlalchemy import Executable
from sqlalchemy.dialects.postgresql import insert

from runyard_events.catalogue import (
    PreviewDeleted,
    PreviewFailed,
    PreviewPrepared,
    PreviewReady,
    PreviewRequested,
    PreviewShared,
    PreviewShareRevoked,
    PreviewStarting,
    PreviewStopped,
)
from runyard_events.stored import StoredEvent
from runyard_gateway.projections.rows import storable, storable_values
from runyard_gateway.projections.tables import preview_shares, previews

_UNHURT: dict[str, Any] = {"reason": None, "message": None, "exit_code": None, "log_tail": []}
_AWAY: dict[str, Any] = {"address": None}


def preview_rows(stored: StoredEvent) -> list[Executable]:
    """The statements that a preview's lifecycle event amounts to."""
    match stored.event.payload:
        case PreviewRequested() as asked:
            return [_requested(stored, asked)]
        case PreviewShared() as shared:
            return [_shared(stored, shared)]
        case PreviewShareRevoked() as revoked:
            values = storable_values({"revoked_at": stored.event.at, "revoked_by": revoked.revoked_by})
            mine = (preview_shares.c.id == revoked.share_id) & (
                preview_shares.c.preview_id == stored.address.aggregate_id
            )
            return [preview_shares.update().where(mine, preview_shares.c.revoked_at.is_(None)).values(values)]
        case payload:
            values = _values(stored, payload)
            if values is None:
                return []
            changed = storable_values({"updated_at": stored.event.at, **values})
            return [previews.update().where(previews.c.id == stored.address.aggregate_id).values(changed)]


def _requested(stored: StoredEvent, asked: PreviewRequested) -> Executable:
    """A new preview, or one that is asked for once more."""
    at = stored.event.at
    again: dict[str, Any] = {"status": "requested", "updated_at": at, **_UNHURT, **_AWAY}
    values: dict[str, Any] = {
        "id": stored.address.aggregate_id,
        "tenant_id": stored.address.tenant_id,
        "workspace_id": asked.workspace_id,
        "session_id": asked.session_id,
        "branch": asked.branch,
        "command": asked.command,
        "wanted_framework": asked.framework,
        "generation": 0,
        "requested_by": asked.requested_by,
        "created_at": at,
        "first_seq": stored.stream_seq,
        "started_seq": stored.stream_seq,
        **again,
    }
    statement = insert(previews).values(storable_values(values))
    return statement.on_conflict_do_update(index_elements=["id"], set_=again)


def _shared(stored: StoredEvent, shared: PreviewShared) -> Executable:
    values = {
        "id": shared.share_id,
        "tenant_id": stored.address.tenant_id,
        "preview_id": stored.address.aggregate_id,
        "expires_at": shared.expires_at,
        "shared_by": shared.shared_by,
        "created_at": stored.event.at,
        "created_seq": stored.stream_seq,
    }
    return insert(preview_shares).values(storable_values(values)).on_conflict_do_nothing()


def _values(  # noqa: PLR0911 - one per kind of event
    stored: StoredEvent, payload: object
) -> dict[str, Any] | None:
    match payload:
        case PreviewPrepared() as made:
            facts = {"framework": made.framework, "name": made.name, "serve": made.serve, "commit": made.commit}
            branch = {"branch": made.branch} if made.branch else {}
            return {"status": "prepared", **facts, **branch}
        case PreviewStarting() as start:
            facts = {"generation": start.generation, "method": start.method, "port": start.port}
            return {
                "status": "starting",
                **facts,
                "started_seq": stored.stream_seq,
                "took_ms": None,
                **_UNHURT,
                **_AWAY,
            }
        case PreviewReady() as ready:
            return {"status": "ready", "address": ready.address, "took_ms": ready.took_ms, **_UNHURT}
        case PreviewFailed() as failed:
            tail = [storable(line) for line in failed.log_tail]
            why = {"reason": failed.reason, "message": failed.message, "exit_code": failed.exit_code, "log_tail": tail}
            return {"status": "failed", **why, **_AWAY}
        case PreviewStopped() as stopped:
            return {"status": "stopped", **_UNHURT, "reason": stopped.reason, **_AWAY}
        case PreviewDeleted():
            return {"status": "deleted", **_UNHURT, **_AWAY}
        case _:
            return None

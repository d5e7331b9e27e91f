"""Rows of workspaces out of their lifecycle."""

from typing import Any

from sqlalchemy import Executable
from sqlalchemy.dialects.postgresql import insert

from runyard_events.catalogue import WorkspaceImported, WorkspaceImportFailed, WorkspaceImportRequested
from runyard_events.stored import StoredEvent
from runyard_gateway.projections.rows import storable, storable_values
from runyard_gateway.projections.tables import workspaces


def workspace_rows(stored: StoredEvent) -> list[Executable]:
    """The statements that a workspace's event amounts to."""
    event, identifier = stored.event, stored.address.aggregate_id
    match event.payload:
        case WorkspaceImportRequested() as asked:
            values: dict[str, Any] = {
                "id": identifier,
                "tenant_id": stored.address.tenant_id,
                "source_type": asked.source_type,
                "source_uri": asked.source_uri,
                "storage_mode": "managed_copy",
                "display_name": asked.display_name,
                "status": "importing",
                "requested_by": asked.requested_by,
                "created_at": event.at,
                "metadata_json": {},
                "created_seq": stored.stream_seq,
            }
            return [insert(workspaces).values(storable_values(values)).on_conflict_do_nothing()]
        case WorkspaceImported() as done:
            values = {
                "status": "ready",
                "display_name": done.display_name,
                "local_path": done.local_path,
                "failure_reason": None,
                "failure_message": None,
                "last_accessed_at": event.at,
                "metadata_json": {
                    "head_commit": storable(done.head_commit),
                    "default_branch": storable(done.default_branch),
                    "size_bytes": done.size_bytes,
                },
            }
            return [workspaces.update().where(workspaces.c.id == identifier).values(storable_values(values))]
        case WorkspaceImportFailed() as failed:
            values = {
                "status": "failed",
                "failure_reason": failed.reason,
                "failure_message": failed.message,
            }
            return [workspaces.update().where(workspaces.c.id == identifier).values(storable_values(values))]
        case _:
            return []

"""Rows of sessions out of their lifecycle."""

from typing import Any

from sqlalchemy import Executable
from sqlalchemy.dialects.postgresql import insert

from runyard_events.catalogue import SessionCreated, SessionDeleted, SessionFailed, SessionReady
from runyard_events.stored import StoredEvent
from runyard_gateway.projections.rows import storable_values
from runyard_gateway.projections.tables import sessions, workspaces


def session_rows(stored: StoredEvent) -> list[Executable]:
    """The statements that a session's own event amounts to."""
    event = stored.event
    match event.payload:
        case SessionCreated() as created:
            return _created(stored, created)
        case SessionReady() as ready:
            values = {
                "status": "ready",
                "working_directory": ready.repo_path,
                "runner_thread_id": ready.thread_id,
                "branch": ready.branch,
                "base_commit": ready.base_commit,
            }
        case SessionFailed() as failed:
            values = {
                "status": "failed",
                "failure_reason": failed.reason,
                "failure_message": failed.message,
            }
        case SessionDeleted():
            values = {"status": "deleted"}
        case _:
            return []
    return [_update(stored, values)]


def _created(stored: StoredEvent, created: SessionCreated) -> list[Executable]:
    at = stored.event.at
    values = {
        "id": stored.address.aggregate_id,
        "tenant_id": stored.address.tenant_id,
        "workspace_id": created.workspace_id,
        "runner_type": created.runner_type,
        "runner_thread_id": created.thread_id,
        "status": "creating",
        "title": created.title,
        "model": created.model,
        "approval_policy": created.approval_policy,
        "created_by": created.created_by,
        "created_at": at,
        "first_seq": stored.stream_seq,
    }
    accessed = workspaces.update().where(workspaces.c.id == created.workspace_id).values(last_accessed_at=at)
    return [insert(sessions).values(storable_values(values)).on_conflict_do_nothing(), accessed]


def _update(stored: StoredEvent, values: dict[str, Any]) -> Executable:
    return sessions.update().where(sessions.c.id == stored.address.aggregate_id).values(storable_values(values))

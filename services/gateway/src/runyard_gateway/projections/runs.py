"""Rows of runs out of their lifecycle and of their checkpoints.

A run that has ended stays as it ended, and its first start is when it started: nothing that comes
later on the subject changes either.
"""

from typing import Any

from sqlalchemy import Executable, func
from sqlalchemy.dialects.postgresql import insert

from runyard_events.catalogue import (
    CheckpointCreated,
    RunCancelled,
    RunCancelRequested,
    RunCompleted,
    RunDispatched,
    RunError,
    RunRequested,
    RunResumed,
    RunStarted,
)
from runyard_events.stored import StoredEvent
from runyard_gateway.projections.rows import of_run, storable_values
from runyard_gateway.projections.tables import approvals, runs

_STATUS = {RunCompleted: "completed", RunCancelled: "cancelled", RunError: "error"}


def run_rows(stored: StoredEvent) -> list[Executable]:
    """The statements that a run's lifecycle event amounts to."""
    match stored.event.payload:
        case RunRequested() as asked:
            return [_requested(stored, asked)]
        case RunCompleted() | RunCancelled() | RunError() as ended:
            return _ended(stored, ended)
        case payload:
            values = _progress(stored, payload)
            return [_while_open(stored, values)] if values else []


def _progress(stored: StoredEvent, payload: object) -> dict[str, Any]:
    """What changes about a run that has not ended."""
    match payload:
        case RunDispatched() as handed:
            return {"status": "running", "method": handed.method, "method_reason": handed.reason}
        case RunStarted() as started:
            since = func.coalesce(runs.c.started_at, stored.event.at)
            model = {} if started.model is None else {"model": started.model}
            return {"status": "running", "attempt": started.attempt, "started_at": since, **model}
        case RunResumed() as resumed:
            return {"status": "running", "attempt": resumed.attempt}
        case RunCancelRequested():
            return {"cancel_requested": True}
        case _:
            return {}


def checkpoint_rows(stored: StoredEvent) -> list[Executable]:
    """The figures of the files that a run left behind."""
    made = stored.event.payload
    if not isinstance(made, CheckpointCreated) or stored.address.run_id is None:
        return []
    values = {
        "checkpoint_commit": made.commit,
        "files_changed": made.files_changed,
        "insertions": made.insertions,
        "deletions": made.deletions,
    }
    return [runs.update().where(of_run(stored, runs, "id")).values(storable_values(values))]


def _requested(stored: StoredEvent, asked: RunRequested) -> Executable:
    values = {
        "id": stored.address.run_id,
        "tenant_id": stored.address.tenant_id,
        "session_id": stored.address.session_id,
        "workspace_id": asked.workspace_id,
        "runner_type": asked.runner_type,
        "runner_run_id": stored.address.run_id,
        "prompt": asked.prompt,
        "status": "queued",
        "model": asked.model,
        "attempt": 0,
        "requested_by": asked.requested_by,
        "cancel_requested": False,
        "created_at": stored.event.at,
        "first_seq": stored.stream_seq,
    }
    return insert(runs).values(storable_values(values)).on_conflict_do_nothing()


def _while_open(stored: StoredEvent, values: dict[str, Any]) -> Executable:
    return runs.update().where(of_run(stored, runs, "id"), runs.c.end_seq.is_(None)).values(storable_values(values))


def _ended(stored: StoredEvent, ended: RunCompleted | RunCancelled | RunError) -> list[Executable]:
    end: dict[str, Any] = {
        "status": _STATUS[type(ended)],
        "duration_ms": ended.duration_ms,
        "completed_at": stored.event.at,
        "end_seq": stored.stream_seq,
    }
    if isinstance(ended, RunError):
        end |= {"error_reason": ended.reason, "error_message": ended.message}
    unanswered = of_run(stored, approvals) & (approvals.c.status == "open")
    return [_while_open(stored, end), approvals.update().where(unanswered).values(status="expired")]

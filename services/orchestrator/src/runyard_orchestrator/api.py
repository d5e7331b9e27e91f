"""Routes for looking inside: a tenant's sessions and runs as decisions see them. The public API is the gateway's."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel
from sqlalchemy.engine import RowMapping

from runyard_chassis import CallerDep
from runyard_orchestrator.store.reading import Rows

router = APIRouter(tags=["inspection"])
Limit = Annotated[int, Query(ge=1, le=500)]
SessionFilter = Annotated[str | None, Query(max_length=128)]


class SessionItem(BaseModel):
    """A session with its queue."""

    session_id: str
    workspace_id: str
    runner_type: str
    thread_id: str
    status: str
    working_directory: str | None
    failure: str | None
    queue: list[str]
    active_run_id: str | None
    created_at: datetime | None


class RunItem(BaseModel):
    """A run without its prompt."""

    run_id: str
    session_id: str
    runner_type: str
    status: str
    attempt: int
    error_reason: str | None
    created_at: datetime | None
    dispatched_at: datetime | None
    started_at: datetime | None
    completed_at: datetime | None


class Sessions(BaseModel):
    """Sessions, newest first."""

    items: list[SessionItem]


class Runs(BaseModel):
    """Runs, newest first."""

    items: list[RunItem]


def _rows(request: Request) -> Rows:
    rows = request.app.state.rows
    if not isinstance(rows, Rows):
        raise TypeError("the service has not started")
    return rows


RowsDep = Annotated[Rows, Depends(_rows)]


@router.get("/sessions")
async def sessions(caller: CallerDep, rows: RowsDep, limit: Limit = 100) -> Sessions:
    """The tenant's sessions."""
    found = await rows.sessions_of(caller.tenant, limit)
    return Sessions(items=[SessionItem(**_named(SessionItem, row, thread_id=row["runner_thread_id"])) for row in found])


@router.get("/runs")
async def runs(caller: CallerDep, rows: RowsDep, session_id: SessionFilter = None, limit: Limit = 100) -> Runs:
    """The tenant's runs, of one session if asked for."""
    found = await rows.runs_of(caller.tenant, session_id, limit)
    return Runs(items=[RunItem(**_named(RunItem, row, run_id=row["id"])) for row in found])


def _named(model: type[BaseModel], row: RowMapping, **names: Any) -> dict[str, Any]:
    values = {"session_id": row["id"], **row, **names}
    return {name: values[name] for name in model.model_fields}

"""Runs: prompt, list, read, cancel, steer, answer, follow."""

import json
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Response
from pydantic import ConfigDict, Field
from sqlalchemy import RowMapping

from runyard_chassis import CallerDep, StreamCallerDep
from runyard_events.catalogue import TERMINAL_TYPES
from runyard_events.commands import CancelRun, RequestRun, SteerRun
from runyard_events.ids import derived_id, new_id
from runyard_gateway.api.dependencies import (
    CutDep,
    GatewayDep,
    ReaderDep,
    found,
    known_run,
    run_not_found,
)
from runyard_gateway.api.fields import (
    Body,
    Id,
    IdempotencyKey,
    Note,
    Page,
    View,
    Words,
)
from runyard_gateway.api.streams import STREAM, ResumeDep, open_stream
from runyard_gateway.commands import request_hash
from runyard_gateway.streaming.source import Place

RunStatus = Literal["queued", "running", "completed", "error", "cancelled"]
router = APIRouter(prefix="/api", tags=["runs"])


class Prompt(Body):
    """What the agent shall do."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"prompt": "List the files and add a NOTES.md that says what this is"}]}
    )
    prompt: Words
    time_limit_seconds: Annotated[int, Field(ge=1, le=86_400)] | None = None


class Steer(Body):
    """Words added to a running turn."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"text": "Leave the tests alone"}]})
    text: Words


class Cancel(Body):
    """Why, for the record."""

    reason: Note | None = None


class RunCreated(View):
    run_id: Id


class Usage(View):
    """Tokens as the providers counted them, summed over the run's model calls."""

    calls: int
    failed_calls: int
    input_tokens: int
    output_tokens: int
    cached_input_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int


class RunError(View):
    """Why a run failed: `reason` for programs, `message` for people."""

    reason: str
    message: str


class DiffStats(View):
    """What the run changed, from the checkpoint made at its end."""

    commit: str
    files_changed: int
    insertions: int
    deletions: int


class RunView(View):
    """A run. `queue_position` 0 is next; `cost_usd` is null while a call could not be priced."""

    run_id: Id
    session_id: Id
    workspace_id: Id
    runner_type: str
    prompt: str
    status: RunStatus
    queue_position: int | None
    method: str | None = Field(
        description="Where it is worked on: `process`, `docker` ...; null until it is handed out."
    )
    method_reason: str | None = Field(description="Why it fell back to a process, if it did.")
    cancel_requested: bool
    open_approvals: int
    attempt: int
    model: str | None
    usage: Usage
    cost_usd: float | None
    scripted: bool = Field(description="Whether the offline scripted model answered.")
    diff: DiffStats | None
    error: RunError | None
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    duration_ms: int | None
    first_seq: int = Field(description="Where the run begins in the log.")
    end_seq: int | None


class RunPage(Page):
    items: list[RunView]


class ArchivedEvent(View):
    """An event and its place in the log."""

    id: int
    event: dict[str, Any]


class ArchivePage(Page):
    items: list[ArchivedEvent]


def run_view(row: RowMapping) -> RunView:
    """A run as the API shows it."""
    values: dict[str, Any] = {
        **row,
        "run_id": row["id"],
        "queue_position": row["ahead"] if row["status"] == "queued" else None,
        "usage": Usage.model_validate(dict(row)),
        "cost_usd": float(row["cost_usd"]) if not row["unpriced_calls"] else None,
        "scripted": row["scripted_calls"] > 0,
        "error": None,
        "diff": None,
    }
    if row["error_reason"] is not None:
        values["error"] = RunError(reason=row["error_reason"], message=row["error_message"] or "")
    if row["checkpoint_commit"] is not None:
        values["diff"] = DiffStats(
            commit=row["checkpoint_commit"],
            files_changed=row["files_changed"],
            insertions=row["insertions"],
            deletions=row["deletions"],
        )
    return RunView.model_validate({name: values[name] for name in RunView.model_fields})


@router.post("/sessions/{session_id}/prompt", status_code=201, summary="Prompt the agent")
async def prompt(
    *,
    session_id: UUID,
    body: Prompt,
    caller: CallerDep,
    gateway: GatewayDep,
    response: Response,
    key: IdempotencyKey = None,
) -> RunCreated:
    # Whether there is such a session is the orchestrator's to say: nothing is looked up on the way to it.
    wanted = RequestRun(
        session_id=str(session_id),
        run_id=derived_id(caller.tenant, "run", str(session_id), key) if key else new_id(),
        prompt=body.prompt,
        time_limit_seconds=body.time_limit_seconds,
        idempotency_key=key,
        request_hash=request_hash(body.model_dump(mode="json")),
    )
    (await gateway.commands.carry_out(caller, wanted)).mark(response)
    return RunCreated(run_id=wanted.run_id)


@router.get("/runs", summary="List runs, newest first")
async def list_runs(
    caller: ReaderDep,
    gateway: GatewayDep,
    cut: CutDep,
    session_id: UUID | None = None,
    status: Annotated[RunStatus | None, Query()] = None,
) -> RunPage:
    session = str(session_id) if session_id else None
    page = await gateway.records.runs(caller.tenant, cut, session, status)
    return RunPage(items=[run_view(row) for row in page.items], next_cursor=page.next)


@router.get("/runs/{run_id}", summary="One run: status, usage, cost, diff")
async def get_run(run_id: UUID, caller: ReaderDep, gateway: GatewayDep) -> RunView:
    return run_view(await known_run(gateway, caller, run_id))


@router.post("/runs/{run_id}/cancel", status_code=202, summary="Ask a run to stop")
async def cancel_run(
    run_id: UUID, caller: CallerDep, gateway: GatewayDep, response: Response, body: Cancel | None = None
) -> RunView:
    row = await known_run(gateway, caller, run_id)
    reason = body.reason if body else None
    wanted = CancelRun(session_id=row["session_id"], run_id=str(run_id), reason=reason)
    (await gateway.commands.carry_out(caller, wanted)).mark(response)
    return run_view(await known_run(gateway, caller, run_id))


@router.post("/runs/{run_id}/steer", status_code=202, summary="Add words to a running turn")
async def steer_run(run_id: UUID, body: Steer, caller: CallerDep, gateway: GatewayDep, response: Response) -> RunView:
    row = await known_run(gateway, caller, run_id)
    wanted = SteerRun(session_id=row["session_id"], run_id=str(run_id), text=body.text)
    (await gateway.commands.carry_out(caller, wanted)).mark(response)
    return run_view(await known_run(gateway, caller, run_id))


@router.get(
    "/runs/{run_id}/archive",
    summary="A run's events out of the archive, oldest first",
    description="For what the log no longer has: a stream says so with a `gap` event.",
    response_class=Response,
    responses={200: {"description": "Events as they were appended.", "model": ArchivePage}},
)
async def run_archive(run_id: UUID, caller: ReaderDep, gateway: GatewayDep, cut: CutDep) -> Response:
    if await gateway.records.run_place(caller.tenant, str(run_id)) is None:
        raise run_not_found()
    await gateway.consistency.shows_transcript()
    page = await gateway.records.archived(caller.tenant, str(run_id), cut)
    # The events are passed on as they stand: what was appended is what is answered.
    items = ",".join(f'{{"id":{row["id"]},"event":{row["raw_json"]}}}' for row in page.items)
    body = f'{{"items":[{items}],"next_cursor":{json.dumps(page.next)}}}'
    return Response(body, media_type="application/json")


@router.get("/runs/{run_id}/events", summary="Follow a run from any place", **STREAM)
async def run_events(run_id: UUID, caller: StreamCallerDep, gateway: GatewayDep, resume: ResumeDep) -> Response:
    row = await found(gateway, lambda: gateway.records.run_place(caller.tenant, str(run_id)))
    if row is None:
        raise run_not_found()
    place = Place(
        topic=f"ev.{caller.tenant}.session.{row['session_id']}.run.{run_id}",
        start=resume.start(row["first_seq"]),
        ends=TERMINAL_TYPES,
        families=resume.families,
    )
    return await open_stream(gateway, place, resume, row["first_seq"])

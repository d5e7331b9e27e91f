"""What agents ask, and the answers of people."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from fastapi import APIRouter, Response
from pydantic import ConfigDict
from sqlalchemy import RowMapping

from runyard_chassis import CallerDep
from runyard_events.catalogue import Answer
from runyard_events.commands import AnswerApproval
from runyard_gateway.api.dependencies import GatewayDep, ReaderDep, known_run
from runyard_gateway.api.fields import ApprovalId, Body, Id, JsonObject, Note, View

router = APIRouter(prefix="/api", tags=["approvals"])


class Decision(Body):
    """An answer to what an agent asked; `answers` go with questions."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"decision": "accept"}]})
    decision: Answer
    answers: JsonObject | None = None
    message: Note | None = None


class ApprovalView(View):
    """A question of an agent, and its answer."""

    approval_id: str
    run_id: Id
    kind: str
    title: str
    detail: dict[str, Any]
    options: list[str]
    questions: list[dict[str, Any]]
    status: Literal["open", "resolved", "expired"]
    decision: str | None
    answers: dict[str, Any] | None
    message: str | None
    resolved_by: str | None
    requested_at: datetime
    resolved_at: datetime | None


class ApprovalList(View):
    items: list[ApprovalView]


def approval_view(row: RowMapping) -> ApprovalView:
    """An approval as the API shows it."""
    values: dict[str, Any] = {**row, "approval_id": row["id"]}
    return ApprovalView.model_validate({name: values[name] for name in ApprovalView.model_fields})


@router.get("/runs/{run_id}/approvals", summary="What a run asked, oldest first")
async def list_approvals(run_id: UUID, caller: ReaderDep, gateway: GatewayDep) -> ApprovalList:
    await known_run(gateway, caller, run_id)
    rows = await gateway.records.approvals(caller.tenant, str(run_id))
    return ApprovalList(items=[approval_view(row) for row in rows])


@router.post("/runs/{run_id}/approvals/{approval_id}", summary="Answer what a run asked; the first answer counts")
async def answer_approval(
    *,
    run_id: UUID,
    approval_id: ApprovalId,
    body: Decision,
    caller: CallerDep,
    gateway: GatewayDep,
    response: Response,
) -> ApprovalView:
    row = await known_run(gateway, caller, run_id)
    # Whether the run has asked this is the orchestrator's to say: its client may have seen the question in
    # the stream before our rows show it.
    wanted = AnswerApproval(
        session_id=row["session_id"],
        run_id=str(run_id),
        approval_id=approval_id,
        decision=body.decision,
        answers=body.answers,
        message=body.message,
    )
    (await gateway.commands.carry_out(caller, wanted)).mark(response)
    answered = await gateway.records.approvals(caller.tenant, str(run_id), approval_id)
    return approval_view(answered[0])

"""The container of a session: wishes for it, what became of them, what it uses and prints."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from pydantic import ConfigDict, Field
from sqlalchemy import RowMapping

from runyard_chassis import Caller, CallerDep, NotFound, StreamCallerDep
from runyard_events.commands import ControlSandbox, SandboxAction
from runyard_gateway.api.dependencies import GatewayDep, ReaderDep, open_session
from runyard_gateway.api.fields import ContainerStatus, ContainerType, Id, View
from runyard_gateway.gateway import Gateway

router = APIRouter(prefix="/api/sessions/{session_id}/container", tags=["containers"])

_ABOUT = ("session_id", "workspace_id", "method", "epoch", "image", "native_id", "warm", "took_ms")
_TROUBLE = ("reason", "message", "exit_code", "log_tail")
STREAMED: dict[str, Any] = {
    "response_class": Response,
    "responses": {
        200: {
            "description": "As the orchestrator answers; with `follow=true` server-sent events.",
            "content": {"application/json": {"schema": {"type": "object"}}, "text/event-stream": {}},
        }
    },
}
"""Of routes whose answers are the orchestrator's."""


class ContainerView(View):
    """A container. `epoch` in its metadata counts those that a session has had."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "0a1b2c3d-6c0f-4a6e-8f0a-0d9f3b6f2c11",
                    "team_id": "5e0a3f5e-6c0f-4a6e-8f0a-0d9f3b6f2c11",
                    "container_type": "agent",
                    "container_name": "runyard-0a1b2c3d-1",
                    "status": "running",
                    "port": None,
                    "created_at": "2026-11-21T08:00:00Z",
                    "updated_at": "2026-11-21T08:00:01Z",
                    "metadata": {"method": "docker", "epoch": 1, "warm": False, "took_ms": 210, "reason": "prompt"},
                }
            ]
        }
    )
    id: Id
    team_id: Id
    container_type: ContainerType
    container_name: str | None
    status: ContainerStatus
    port: int | None
    created_at: datetime
    updated_at: datetime
    metadata: dict[str, Any] = Field(
        description="Whose it is, what runs it, and why its status is what it is (`reason`); if it does not run, also "
        "`message`, `exit_code`, `log_tail`."
    )


def container_view(row: RowMapping) -> ContainerView:
    """A container as the API shows it."""
    about = {name: row[name] for name in _ABOUT if row[name] is not None}
    trouble = {name: row[name] for name in _TROUBLE if row[name]}
    values: dict[str, Any] = {**row, "team_id": row["tenant_id"], "metadata": {**about, **trouble}}
    return ContainerView.model_validate({name: values[name] for name in ContainerView.model_fields})


@router.post("/create", status_code=202, summary="Have a container made for a session")
async def create_container(
    session_id: UUID, caller: CallerDep, gateway: GatewayDep, response: Response
) -> ContainerView:
    return await _control(gateway, caller, session_id, "create", response)


@router.post("/start", status_code=202, summary="Start a session's container again")
async def start_container(
    session_id: UUID, caller: CallerDep, gateway: GatewayDep, response: Response
) -> ContainerView:
    return await _control(gateway, caller, session_id, "start", response)


@router.post("/stop", status_code=202, summary="Stop a session's container; the next prompt starts it again")
async def stop_container(session_id: UUID, caller: CallerDep, gateway: GatewayDep, response: Response) -> ContainerView:
    return await _control(gateway, caller, session_id, "stop", response)


@router.post("/pause", status_code=202, summary="Let a session's container stand still")
async def pause_container(
    session_id: UUID, caller: CallerDep, gateway: GatewayDep, response: Response
) -> ContainerView:
    return await _control(gateway, caller, session_id, "pause", response)


@router.delete("", status_code=204, summary="Remove a session's container; its files stay")
async def delete_container(session_id: UUID, caller: CallerDep, gateway: GatewayDep, response: Response) -> None:
    await _ask(gateway, caller, session_id, "delete", response)


@router.get("/status", summary="A session's container")
async def container_status(session_id: UUID, caller: ReaderDep, gateway: GatewayDep) -> ContainerView:
    await open_session(gateway, caller, session_id)
    return container_view(await _known(gateway, caller, session_id))


@router.get("/logs", summary="What a session's container printed", **STREAMED)
async def container_logs(
    *,
    session_id: UUID,
    request: Request,
    caller: StreamCallerDep,
    gateway: GatewayDep,
    tail: Annotated[int, Query(ge=1, le=10_000, description="So many of the last lines.")] = 200,
    follow: Annotated[bool, Query(description="Also those to come, as server-sent events.")] = False,
) -> Response:
    _ = tail  # declared for the document and checked; passed on with the query
    return await _pass_on(gateway, caller, session_id, request, "logs", follow=follow)


@router.get("/stats", summary="What a session's container uses", **STREAMED)
async def container_stats(
    *,
    session_id: UUID,
    request: Request,
    caller: StreamCallerDep,
    gateway: GatewayDep,
    follow: Annotated[bool, Query(description="About once a second, as server-sent events.")] = False,
) -> Response:
    return await _pass_on(gateway, caller, session_id, request, "stats", follow=follow)


async def _control(
    gateway: Gateway, caller: Caller, session_id: UUID, action: SandboxAction, response: Response
) -> ContainerView:
    await _ask(gateway, caller, session_id, action, response)
    return container_view(await _known(gateway, caller, session_id))


async def _ask(gateway: Gateway, caller: Caller, session_id: UUID, action: SandboxAction, response: Response) -> None:
    await open_session(gateway, caller, session_id)
    wanted = ControlSandbox(session_id=str(session_id), action=action)
    (await gateway.commands.carry_out(caller, wanted)).mark(response)


async def _known(gateway: Gateway, caller: Caller, session_id: UUID) -> RowMapping:
    row = await gateway.containers.of_session(caller.tenant, str(session_id))
    if row is None:
        raise NotFound("The session has no container.", type="container-not-found")
    return row


async def _pass_on(
    gateway: Gateway, caller: Caller, session_id: UUID, request: Request, what: str, *, follow: bool
) -> Response:
    await open_session(gateway, caller, session_id)
    await _known(gateway, caller, session_id)
    heartbeat = gateway.settings.stream_heartbeat_seconds if follow else None
    path = f"/sessions/{session_id}/sandbox/{what}"
    return await gateway.orchestrator.pass_on(request, caller, path, heartbeat_seconds=heartbeat)

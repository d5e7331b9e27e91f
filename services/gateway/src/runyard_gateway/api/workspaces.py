"""Workspaces: import, list, read, follow."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Response
from pydantic import ConfigDict, Field
from sqlalchemy import RowMapping

from runyard_chassis import CallerDep, StreamCallerDep
from runyard_events.catalogue import WorkspaceImported, WorkspaceImportFailed
from runyard_gateway.api.dependencies import CutDep, GatewayDep, ReaderDep, known_workspace
from runyard_gateway.api.fields import Body, Id, IdempotencyKey, Line, Page, Uri, View
from runyard_gateway.api.sessions import SessionPage, session_view
from runyard_gateway.api.streams import STREAM, ResumeDep, open_stream
from runyard_gateway.commands import SEQ_HEADER
from runyard_gateway.streaming.source import Place

ACCEPTED = 202
_ENDS = frozenset({WorkspaceImported.TYPE, WorkspaceImportFailed.TYPE})
router = APIRouter(prefix="/api/workspaces", tags=["workspaces"])


class Import(Body):
    """A repository to be copied."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"source_type": "github", "source_uri": "https://github.com/psf/requests"}]}
    )
    source_type: Literal["github", "git", "local"]
    source_uri: Uri
    display_name: Line | None = Field(default=None, description="`org/repo` of the address when not given.")


class WorkspaceView(View):
    """A repository that sessions can be opened on. `local_path` is null until it is `ready`."""

    workspace_id: Id
    display_name: str
    source_type: str
    source_uri: str
    storage_mode: str
    local_path: str | None
    status: Literal["importing", "ready", "failed"]
    failure_reason: str | None = None
    failure_message: str | None = None
    head_commit: str | None = None
    default_branch: str | None = None
    size_bytes: int | None = None
    created_at: datetime
    last_accessed_at: datetime | None = None


class WorkspacePage(Page):
    items: list[WorkspaceView]


def workspace_view(row: RowMapping) -> WorkspaceView:
    """A workspace as the API shows it."""
    values: dict[str, Any] = {**row, **row["metadata_json"], "workspace_id": row["id"]}
    return WorkspaceView.model_validate({name: values.get(name) for name in WorkspaceView.model_fields})


@router.post(
    "/import",
    status_code=201,
    summary="Import a repository",
    responses={ACCEPTED: {"model": WorkspaceView, "description": "The import goes on: follow its events."}},
)
async def import_workspace(
    *,
    body: Import,
    caller: CallerDep,
    gateway: GatewayDep,
    response: Response,
    wait: Annotated[bool, Query(description="Hold the answer back until the clone has ended.")] = True,
    key: IdempotencyKey = None,
) -> WorkspaceView:
    row = await gateway.imports.of(
        caller, body.source_type, body.source_uri, name=body.display_name, key=key, wait=wait
    )
    response.headers[SEQ_HEADER] = str(gateway.hub.last_of_state)
    if row["status"] == "importing":
        response.status_code = ACCEPTED
    return workspace_view(row)


@router.get("", summary="List workspaces, newest first")
async def list_workspaces(caller: ReaderDep, gateway: GatewayDep, cut: CutDep) -> WorkspacePage:
    page = await gateway.records.workspaces(caller.tenant, cut)
    return WorkspacePage(items=[workspace_view(row) for row in page.items], next_cursor=page.next)


@router.get("/{workspace_id}", summary="One workspace")
async def get_workspace(workspace_id: UUID, caller: ReaderDep, gateway: GatewayDep) -> WorkspaceView:
    return workspace_view(await known_workspace(gateway, caller, workspace_id))


@router.get("/{workspace_id}/sessions", summary="A workspace's sessions, newest first")
async def workspace_sessions(workspace_id: UUID, caller: ReaderDep, gateway: GatewayDep, cut: CutDep) -> SessionPage:
    await known_workspace(gateway, caller, workspace_id)
    page = await gateway.records.sessions(caller.tenant, cut, str(workspace_id))
    return SessionPage(items=[session_view(row) for row in page.items], next_cursor=page.next)


@router.get("/{workspace_id}/events", summary="Follow an import", **STREAM)
async def workspace_events(
    workspace_id: UUID, caller: StreamCallerDep, gateway: GatewayDep, resume: ResumeDep
) -> Response:
    row = await known_workspace(gateway, caller, workspace_id)
    place = Place(
        topic=f"ev.{caller.tenant}.workspace.{workspace_id}",
        start=resume.start(row["created_seq"]),
        ends=_ENDS,
        families=resume.families,
    )
    return await open_stream(gateway, place, resume, row["created_seq"])

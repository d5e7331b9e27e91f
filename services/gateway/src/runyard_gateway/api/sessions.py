"""Sessions: create, list, read, delete, what was said, follow."""

from datetime import datetime
from typing import Literal, Self
from uuid import UUID

from fastapi import APIRouter, Response
from pydantic import ConfigDict, Field, model_validator
from sqlalchemy import RowMapping

from runyard_chassis import Caller, CallerDep, Conflict, StreamCallerDep
from runyard_events.commands import CreateSession, DeleteSession
from runyard_events.ids import derived_id, new_id
from runyard_gateway.api.dependencies import CutDep, GatewayDep, ReaderDep, known_workspace, open_session
from runyard_gateway.api.fields import (
    ApprovalPolicy,
    Body,
    ContainerStatus,
    Id,
    IdempotencyKey,
    Line,
    Page,
    RunnerType,
    Uri,
    View,
)
from runyard_gateway.api.streams import STREAM, ResumeDep, open_stream
from runyard_gateway.commands import request_hash
from runyard_gateway.gateway import Gateway
from runyard_gateway.imports import source_type_of
from runyard_gateway.streaming.source import Place

router = APIRouter(prefix="/api/sessions", tags=["sessions"])


class NewSession(Body):
    """A conversation with one agent, on a workspace or on a repository that is imported first."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"workspace_id": "5e0a3f5e-6c0f-4a6e-8f0a-0d9f3b6f2c11", "runner_type": "codex"},
                {"repo_url": "https://github.com/psf/requests", "runner_type": "claude"},
            ]
        }
    )
    workspace_id: UUID | None = None
    repo_url: Uri | None = None
    runner_type: RunnerType
    approval_policy: ApprovalPolicy = "never"
    model: Line | None = None
    title: Line | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.workspace_id is None) == (self.repo_url is None):
            raise ValueError("exactly one of workspace_id and repo_url is needed")
        return self


class SessionView(View):
    """A session. `repo_path` is its own working tree, null until it is `ready`."""

    session_id: Id
    workspace_id: Id
    runner_type: str
    thread_id: str
    repo_path: str | None
    status: Literal["creating", "ready", "failed", "deleted"]
    title: str | None
    model: str | None
    approval_policy: str
    branch: str | None
    base_commit: str | None
    failure_message: str | None = None
    container_status: ContainerStatus | None = Field(
        default=None, description="Of its container; null when it never had one."
    )
    created_at: datetime


class SessionPage(Page):
    items: list[SessionView]


class MessageView(View):
    """One message of a conversation."""

    id: int = Field(description="The message's place in the log.")
    run_id: Id
    role: Literal["user", "assistant"]
    text: str
    format: str
    interrupted: bool
    created_at: datetime


class MessagePage(Page):
    items: list[MessageView]


def session_view(row: RowMapping) -> SessionView:
    """A session as the API shows it."""
    names = {"session_id": "id", "thread_id": "runner_thread_id", "repo_path": "working_directory"}
    return SessionView.model_validate({name: row[names.get(name, name)] for name in SessionView.model_fields})


@router.post("", status_code=201, summary="Open a session")
async def create_session(
    body: NewSession, caller: CallerDep, gateway: GatewayDep, response: Response, key: IdempotencyKey = None
) -> SessionView:
    workspace_id = await _workspace(gateway, caller, body, key)
    wanted = CreateSession(
        session_id=derived_id(caller.tenant, "session", key) if key else new_id(),
        workspace_id=workspace_id,
        runner_type=body.runner_type,
        approval_policy=body.approval_policy,
        model=body.model,
        title=body.title,
        idempotency_key=key,
        request_hash=request_hash(body.model_dump(mode="json")),
    )
    timeout = gateway.settings.session_timeout_seconds
    written = await gateway.commands.carry_out(caller, wanted, timeout_seconds=timeout)
    written.mark(response)
    return session_view(await open_session(gateway, caller, UUID(wanted.session_id)))


async def _workspace(gateway: Gateway, caller: Caller, body: NewSession, key: str | None) -> str:
    """The id of the session's workspace, imported first where the body names a repository."""
    if body.repo_url is not None:
        source_type = source_type_of(body.repo_url)
        row = await gateway.imports.of(caller, source_type, body.repo_url, name=None, key=key, wait=True)
    elif body.workspace_id is not None:
        row = await known_workspace(gateway, caller, body.workspace_id)
    else:
        raise AssertionError("the body's validator lets neither pass")
    if row["status"] != "ready":
        raise Conflict(f"The workspace is {row['status']}.", type="workspace-not-ready", workspace_id=row["id"])
    return str(row["id"])


@router.get("", summary="List sessions, newest first")
async def list_sessions(caller: ReaderDep, gateway: GatewayDep, cut: CutDep) -> SessionPage:
    page = await gateway.records.sessions(caller.tenant, cut)
    return SessionPage(items=[session_view(row) for row in page.items], next_cursor=page.next)


@router.get("/{session_id}", summary="One session")
async def get_session(session_id: UUID, caller: ReaderDep, gateway: GatewayDep) -> SessionView:
    return session_view(await open_session(gateway, caller, session_id))


@router.delete("/{session_id}", status_code=204, summary="Close a session; its history stays")
async def delete_session(session_id: UUID, caller: CallerDep, gateway: GatewayDep, response: Response) -> None:
    await open_session(gateway, caller, session_id)
    written = await gateway.commands.carry_out(caller, DeleteSession(session_id=str(session_id)))
    written.mark(response)


@router.get("/{session_id}/messages", summary="What was said, oldest first")
async def session_messages(session_id: UUID, caller: ReaderDep, gateway: GatewayDep, cut: CutDep) -> MessagePage:
    await open_session(gateway, caller, session_id)
    await gateway.consistency.shows_transcript()
    page = await gateway.records.messages(caller.tenant, str(session_id), cut)
    return MessagePage(items=[MessageView.model_validate(dict(row)) for row in page.items], next_cursor=page.next)


@router.get("/{session_id}/events", summary="Follow a session and all its runs", **STREAM)
async def session_events(session_id: UUID, caller: StreamCallerDep, gateway: GatewayDep, resume: ResumeDep) -> Response:
    row = await open_session(gateway, caller, session_id)
    place = Place(
        topic=f"ev.{caller.tenant}.session.{session_id}",
        start=resume.start(row["first_seq"]),
        families=resume.families,
    )
    return await open_stream(gateway, place, resume, row["first_seq"])

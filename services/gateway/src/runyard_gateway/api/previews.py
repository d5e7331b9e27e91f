"""Previews: a project's own pages, from a branch or from a session's files as they change."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from pydantic import ConfigDict, Field, StringConstraints, model_validator
from sqlalchemy import RowMapping
from starlette.responses import JSONResponse

from runyard_chassis import Caller, CallerDep, NotFound, StreamCallerDep
from runyard_events.commands import ControlPreview, CreatePreview, PreviewAction, RevokeShare, SharePreview
from runyard_events.ids import derived_id, new_id
from runyard_gateway.api.containers import STREAMED
from runyard_gateway.api.dependencies import CutDep, GatewayDep, ReaderDep, known_workspace, open_session
from runyard_gateway.api.fields import Body, Id, IdempotencyKey, Line, Page, View, Words
from runyard_gateway.api.streams import ResumeDep, open_stream
from runyard_gateway.commands import request_hash
from runyard_gateway.gateway import Gateway
from runyard_gateway.previews.addresses import OPEN_PATH, SHARE_PATH
from runyard_gateway.previews.passes import Holder, expiry
from runyard_gateway.streaming.source import Place

router = APIRouter(prefix="/api/previews", tags=["previews"])

_DAY = 24 * 3600
_LINK_SECONDS = 60
Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]
Status = Literal["requested", "prepared", "starting", "ready", "failed", "stopped", "deleted"]


class NewPreview(Body):
    """What to show: a session's files as they change, or a branch of a workspace (none: the checked out one)."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"session_id": "5e0a3f5e-6c0f-4a6e-8f0a-0d9f3b6f2c11"},
                {"workspace_id": "5e0a3f5e-6c0f-4a6e-8f0a-0d9f3b6f2c11", "branch": "main", "framework": "vite"},
            ]
        }
    )
    workspace_id: UUID | None = None
    session_id: UUID | None = None
    branch: Line | None = None
    command: Words | None = Field(default=None, max_length=4000, description="Run by a shell with `PORT`, `HOST` set.")
    framework: Slug | None = Field(default=None, description="Where more than one project is found.")

    @model_validator(mode="after")
    def _one_source(self) -> "NewPreview":
        if (self.workspace_id is None) == (self.session_id is None):
            raise ValueError("exactly one of workspace_id and session_id is needed")
        if self.session_id is not None and self.branch is not None:
            raise ValueError("a session has its own branch")
        return self


class PreviewView(View):
    """A preview. `url` is where it is, for whoever has a link; `log_tail` is of its last failure."""

    preview_id: Id
    workspace_id: Id
    session_id: Id | None
    branch: str | None
    commit: str | None
    command: str | None
    framework: str | None
    name: str | None
    serve: str | None
    status: Status
    generation: int
    method: str | None
    port: int | None
    url: str
    took_ms: int | None
    reason: str | None
    message: str | None
    exit_code: int | None
    log_tail: list[str]
    requested_by: str | None
    created_at: datetime
    updated_at: datetime


class PreviewPage(Page):
    items: list[PreviewView]


class PreviewLine(View):
    """One line that a preview printed."""

    at: datetime | None = None
    text: str
    stream: Literal["stdout", "stderr"] = "stdout"


class PreviewLogs(View):
    """The last lines of a preview, of its last failure when it does not run."""

    lines: list[PreviewLine]


class OpenLink(View):
    """A link that opens the preview once, in a browser, within a minute."""

    url: str
    expires_at: datetime


class NewShare(Body):
    """How long a link opens the preview, in seconds."""

    expires_in: int = Field(default=_DAY, ge=60, le=90 * _DAY)


class ShareView(View):
    """A link that opens the preview without an account. `url` is null once it is revoked or has expired."""

    share_id: Id
    preview_id: Id
    url: str | None
    expires_at: datetime
    shared_by: str | None
    created_at: datetime
    revoked_at: datetime | None


class Shares(View):
    items: list[ShareView]


@router.post("", status_code=201, summary="Show a project")
async def create_preview(
    body: NewPreview, caller: CallerDep, gateway: GatewayDep, response: Response, key: IdempotencyKey = None
) -> PreviewView:
    if body.session_id is not None:
        workspace_id = str((await open_session(gateway, caller, body.session_id))["workspace_id"])
    elif body.workspace_id is not None:
        workspace_id = str((await known_workspace(gateway, caller, body.workspace_id))["id"])
    else:
        raise AssertionError("the body's validator lets neither pass")
    wanted = CreatePreview(
        preview_id=derived_id(caller.tenant, "preview", key) if key else new_id(),
        workspace_id=workspace_id,
        session_id=str(body.session_id) if body.session_id else None,
        branch=body.branch,
        command=body.command,
        framework=body.framework,
        idempotency_key=key,
        request_hash=request_hash(body.model_dump(mode="json")),
    )
    written = await gateway.commands.carry_out(caller, wanted)
    written.mark(response)
    return _view(gateway, await _known(gateway, caller, UUID(wanted.preview_id)))


@router.get("", summary="List previews, newest first")
async def list_previews(
    caller: ReaderDep,
    gateway: GatewayDep,
    cut: CutDep,
    session_id: UUID | None = None,
    workspace_id: UUID | None = None,
) -> PreviewPage:
    page = await gateway.previews.all(
        caller.tenant,
        cut,
        session_id=str(session_id) if session_id else None,
        workspace_id=str(workspace_id) if workspace_id else None,
    )
    return PreviewPage(items=[_view(gateway, row) for row in page.items], next_cursor=page.next)


@router.get("/{preview_id}", summary="One preview")
async def get_preview(preview_id: UUID, caller: ReaderDep, gateway: GatewayDep) -> PreviewView:
    return _view(gateway, await _known(gateway, caller, preview_id))


@router.post("/{preview_id}/start", summary="Start a preview that is at rest")
async def start_preview(preview_id: UUID, caller: CallerDep, gateway: GatewayDep, response: Response) -> PreviewView:
    return await _controlled(gateway, caller, preview_id, "start", response)


@router.post("/{preview_id}/restart", summary="Start a preview anew, with the files and the branch of now")
async def restart_preview(preview_id: UUID, caller: CallerDep, gateway: GatewayDep, response: Response) -> PreviewView:
    return await _controlled(gateway, caller, preview_id, "restart", response)


@router.post("/{preview_id}/stop", summary="Stop a preview; it can be started again")
async def stop_preview(preview_id: UUID, caller: CallerDep, gateway: GatewayDep, response: Response) -> PreviewView:
    return await _controlled(gateway, caller, preview_id, "stop", response)


@router.delete("/{preview_id}", status_code=204, summary="Delete a preview, its container and its files")
async def delete_preview(preview_id: UUID, caller: CallerDep, gateway: GatewayDep, response: Response) -> None:
    await _known(gateway, caller, preview_id)
    written = await gateway.commands.carry_out(caller, ControlPreview(preview_id=str(preview_id), action="delete"))
    written.mark(response)


@router.get(
    "/{preview_id}/logs",
    summary="What a preview prints",
    response_model=PreviewLogs,
    responses={
        200: {
            "description": "The last lines; with `follow=true` events, as they come.",
            "content": {"text/event-stream": {}},
        }
    },
)
async def preview_logs(
    preview_id: UUID,
    caller: StreamCallerDep,
    gateway: GatewayDep,
    resume: ResumeDep,
    *,
    tail: Annotated[int, Query(ge=1, le=2000)] = 200,
    follow: Annotated[bool, Query(description="All since its last start, and those to come, as events.")] = False,
) -> Response:
    row = await _known(gateway, caller, preview_id)
    if follow:
        start = row["started_seq"]
        families = frozenset({"telemetry", "lifecycle"})
        place = Place(f"ev.{caller.tenant}.preview.{preview_id}", resume.start(start), families=families)
        return await open_stream(gateway, place, resume, start)
    if row["status"] in ("starting", "ready"):
        found = await gateway.orchestrator.read(caller, f"/previews/{preview_id}/logs", {"tail": str(tail)})
        shown = PreviewLogs.model_validate(found)
    else:
        shown = PreviewLogs(lines=[PreviewLine(text=line) for line in row["log_tail"][-tail:]])
    return JSONResponse(shown.model_dump(mode="json"))


@router.get("/{preview_id}/stats", summary="What a preview uses", **STREAMED)
async def preview_stats(
    *,
    preview_id: UUID,
    request: Request,
    caller: StreamCallerDep,
    gateway: GatewayDep,
    follow: Annotated[bool, Query(description="About once a second, as server-sent events.")] = False,
) -> Response:
    await _known(gateway, caller, preview_id)
    heartbeat = gateway.settings.stream_heartbeat_seconds if follow else None
    path = f"/previews/{preview_id}/stats"
    return await gateway.orchestrator.pass_on(request, caller, path, heartbeat_seconds=heartbeat)


@router.post("/{preview_id}/open", summary="A link that opens the preview once")
async def open_preview(preview_id: UUID, caller: CallerDep, gateway: GatewayDep) -> OpenLink:
    await _known(gateway, caller, preview_id)
    expires = expiry(_LINK_SECONDS)
    holder = Holder(caller.tenant, str(preview_id), user=caller.user)
    token = gateway.passes.mint("open", holder, expires)
    url = f"{gateway.preview_addresses.origin(str(preview_id))}{OPEN_PATH}?token={token}"
    return OpenLink(url=url, expires_at=expires)


@router.post("/{preview_id}/shares", status_code=201, summary="A link that opens the preview without an account")
async def share_preview(
    preview_id: UUID,
    body: NewShare,
    caller: CallerDep,
    gateway: GatewayDep,
    *,
    response: Response,
    key: IdempotencyKey = None,
) -> ShareView:
    await _known(gateway, caller, preview_id)
    share_id = derived_id(str(preview_id), "share", key) if key else new_id()
    expires = datetime.now(UTC) + timedelta(seconds=body.expires_in)
    wanted = SharePreview(preview_id=str(preview_id), share_id=share_id, expires_at=expires)
    written = await gateway.commands.carry_out(caller, wanted)
    written.mark(response)
    return _share(gateway, await _known_share(gateway, caller, preview_id, share_id))


@router.get("/{preview_id}/shares", summary="The links to a preview, newest first")
async def list_shares(preview_id: UUID, caller: ReaderDep, gateway: GatewayDep) -> Shares:
    await _known(gateway, caller, preview_id)
    found = await gateway.previews.shares(caller.tenant, str(preview_id))
    return Shares(items=[_share(gateway, row) for row in found])


@router.get("/{preview_id}/shares/{share_id}", summary="One link to a preview")
async def get_share(preview_id: UUID, share_id: UUID, caller: ReaderDep, gateway: GatewayDep) -> ShareView:
    await _known(gateway, caller, preview_id)
    return _share(gateway, await _known_share(gateway, caller, preview_id, str(share_id)))


@router.delete("/{preview_id}/shares/{share_id}", status_code=204, summary="Let a link open nothing any more")
async def revoke_share(
    preview_id: UUID, share_id: UUID, caller: CallerDep, gateway: GatewayDep, response: Response
) -> None:
    await _known(gateway, caller, preview_id)
    await _known_share(gateway, caller, preview_id, str(share_id))
    wanted = RevokeShare(preview_id=str(preview_id), share_id=str(share_id))
    (await gateway.commands.carry_out(caller, wanted)).mark(response)


async def _controlled(
    gateway: Gateway, caller: Caller, preview_id: UUID, action: PreviewAction, response: Response
) -> PreviewView:
    await _known(gateway, caller, preview_id)
    written = await gateway.commands.carry_out(caller, ControlPreview(preview_id=str(preview_id), action=action))
    written.mark(response)
    return _view(gateway, await _known(gateway, caller, preview_id))


async def _known(gateway: Gateway, caller: Caller, preview_id: UUID) -> RowMapping:
    row = await gateway.previews.one(caller.tenant, str(preview_id))
    if row is None or row["status"] == "deleted":
        raise NotFound("There is no such preview.", type="preview-not-found")
    return row


async def _known_share(gateway: Gateway, caller: Caller, preview_id: UUID, share_id: str) -> RowMapping:
    found = await gateway.previews.shares(caller.tenant, str(preview_id), share_id)
    if not found:
        raise NotFound("There is no such link.", type="share-not-found")
    return found[0]


def _view(gateway: Gateway, row: RowMapping) -> PreviewView:
    origin = gateway.preview_addresses.origin(row["id"])
    named = {
        **row,
        "preview_id": row["id"],
        "url": f"{origin}/",
        "framework": row["framework"] or row["wanted_framework"],
    }
    return PreviewView.model_validate({name: named[name] for name in PreviewView.model_fields})


def _share(gateway: Gateway, row: RowMapping) -> ShareView:
    """A link as the API shows it; it is signed anew each time, to the same end."""
    url = None
    if row["revoked_at"] is None and row["expires_at"] > datetime.now(UTC):
        holder = Holder(row["tenant_id"], row["preview_id"], share=row["id"])
        token = gateway.passes.mint("share", holder, row["expires_at"])
        url = f"{gateway.preview_addresses.origin(row['preview_id'])}{SHARE_PATH}?token={token}"
    named = {**row, "share_id": row["id"], "url": url}
    return ShareView.model_validate({name: named[name] for name in ShareView.model_fields})

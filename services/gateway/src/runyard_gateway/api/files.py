"""Files and diffs of a session: checked here, answered by the workspace service."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request, Response

from runyard_chassis import CallerDep, Invalid
from runyard_gateway.api.dependencies import GatewayDep, known_run, open_session

FILE_BODY_BYTES = 24 * 1024 * 1024
router = APIRouter(prefix="/api", tags=["files"])

FilePath = Annotated[str, Path(min_length=1, max_length=4096, description="Relative to the session's working tree.")]
_JSON: dict[str, Any] = {"application/json": {"schema": {"type": "object"}}}
_PASSED: dict[str, Any] = {
    "response_class": Response,
    "responses": {200: {"description": "As the workspace service answers.", "content": _JSON}},
}
_CONTENT: dict[str, Any] = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["content"],
                "properties": {
                    "content": {"type": "string"},
                    "encoding": {"type": "string", "enum": ["utf-8", "base64"]},
                },
            },
            "example": {"content": "# Notes\n", "encoding": "utf-8"},
        },
        "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
    },
}


@router.get("/sessions/{session_id}/workspace/files", summary="List a session's files", **_PASSED)
async def list_files(
    *,
    session_id: UUID,
    request: Request,
    caller: CallerDep,
    gateway: GatewayDep,
    path: Annotated[str, Query(max_length=4096, description="Only below this folder.")] = "",
    ignored: Annotated[bool, Query(description="Also what .gitignore leaves out.")] = False,
    after: Annotated[str | None, Query(max_length=4096, description="Continue after this path.")] = None,
    limit: Annotated[int, Query(ge=1, le=5000)] = 1000,
) -> Response:
    _ = path, ignored, after, limit  # declared for the document and checked; passed on with the query
    await open_session(gateway, caller, session_id)
    return await gateway.workspace.pass_on(request, caller, f"/sessions/{session_id}/files")


@router.get("/sessions/{session_id}/workspace/files/{path:path}", summary="Read a file", **_PASSED)
async def read_file(
    session_id: UUID, path: FilePath, request: Request, caller: CallerDep, gateway: GatewayDep
) -> Response:
    await open_session(gateway, caller, session_id)
    return await gateway.workspace.pass_on(request, caller, f"/sessions/{session_id}/files/{_plain(path)}")


@router.put(
    "/sessions/{session_id}/workspace/files/{path:path}",
    summary="Write a file",
    openapi_extra={"requestBody": _CONTENT},
    max_body_size=FILE_BODY_BYTES,
    response_class=Response,
    responses={
        200: {"description": "Written.", "content": _JSON},
        201: {"description": "The file is new.", "content": _JSON},
    },
)
async def write_file(
    session_id: UUID, path: FilePath, request: Request, caller: CallerDep, gateway: GatewayDep
) -> Response:
    await open_session(gateway, caller, session_id)
    return await gateway.workspace.pass_on(request, caller, f"/sessions/{session_id}/files/{_plain(path)}")


@router.get("/sessions/{session_id}/diff", summary="What a session has changed", **_PASSED)
async def session_diff(
    *,
    session_id: UUID,
    request: Request,
    caller: CallerDep,
    gateway: GatewayDep,
    from_: Annotated[str, Query(alias="from", max_length=64, description="`base`, or a run: after it.")] = "base",
    to: Annotated[str, Query(max_length=64, description="`worktree`, or a run: after it.")] = "worktree",
) -> Response:
    _ = from_, to
    await open_session(gateway, caller, session_id)
    return await gateway.workspace.pass_on(request, caller, f"/sessions/{session_id}/diff")


@router.get("/runs/{run_id}/diff", summary="What a run has changed", **_PASSED)
async def run_diff(run_id: UUID, request: Request, caller: CallerDep, gateway: GatewayDep) -> Response:
    row = await known_run(gateway, caller, run_id)
    extra = {"session_id": row["session_id"]}
    return await gateway.workspace.pass_on(request, caller, f"/runs/{run_id}/diff", extra)


def _plain(path: str) -> str:
    """The path, when no part of it could lead elsewhere on the way."""
    if "\x00" in path or any(part in {"", ".", ".."} for part in path.split("/")):
        raise Invalid("A path is relative and has no empty, `.` or `..` parts.", type="path-refused")
    return path

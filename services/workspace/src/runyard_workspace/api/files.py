"""The files of a session: list, read, write."""

import asyncio
import base64
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import JSONResponse, Response
from pydantic import ValidationError

from runyard_chassis import BadRequest, CallerDep, Conflict, Invalid, NotFound, Problem, TooLarge
from runyard_workspace.adapters.tree import (
    Changed,
    FileState,
    Missing,
    NotAFile,
    NotPossible,
    Piece,
    TreeError,
)
from runyard_workspace.api.ranges import OCTETS, Range, parse_range
from runyard_workspace.api.sessions import TreesDep
from runyard_workspace.api.shapes import FileContent, FileEntry, FileList, FileWritten, NewContent
from runyard_workspace.domain.paths import PathRefused, parse_folder, parse_path

PAGE = 1000
LARGEST_PAGE = 5000
FILE = "/sessions/{session_id}/files/{path:path}"


_WRITE_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "application/json": {
            "schema": NewContent.model_json_schema(),
            "example": {"content": "# Notes\n", "encoding": "utf-8"},
        },
        OCTETS: {"schema": {"type": "string", "format": "binary"}},
    },
}


router = APIRouter(tags=["files"])


@router.get("/sessions/{session_id}/files", summary="List a session's files")
async def list_files(
    *,
    session_id: UUID,
    caller: CallerDep,
    trees: TreesDep,
    path: Annotated[str, Query(max_length=4096, description="only below this folder")] = "",
    ignored: Annotated[bool, Query(description="also what .gitignore leaves out")] = False,
    after: Annotated[str | None, Query(max_length=4096, description="continue after this path")] = None,
    limit: Annotated[int, Query(ge=1, le=LARGEST_PAGE)] = PAGE,
) -> FileList:
    folder = _parsed_folder(path)
    page = await trees.page(caller.tenant, str(session_id), folder=folder, ignored=ignored, after=after, limit=limit)
    items = [
        FileEntry(path=one.path, type=one.kind, size=one.size, addressable=one.addressable) for one in page.entries
    ]
    return FileList(items=items, next_after=page.next_after, truncated=page.truncated)


@router.get(FILE, summary="Read a file", response_model=FileContent)
async def read_file(
    *,
    session_id: UUID,
    path: str,
    caller: CallerDep,
    trees: TreesDep,
    offset: Annotated[int, Query(ge=0, lt=2**62)] = 0,
    limit: Annotated[int | None, Query(ge=1)] = None,
    accept: Annotated[str, Header()] = "application/json",
    range_header: Annotated[str | None, Header(alias="Range")] = None,
) -> Response:
    tree = await trees.files(caller.tenant, str(session_id))
    parts = _parsed(path)
    octets = OCTETS in accept
    with _problems():
        wanted = Range(offset, min(limit or trees.limits.read_bytes, trees.limits.read_bytes))
        if octets:
            state = await asyncio.to_thread(tree.state, parts)
            wanted = parse_range(range_header, state.size)
        piece = await asyncio.to_thread(tree.read, parts, offset=wanted.offset, limit=wanted.length)
    return _octets(piece, wanted) if octets else JSONResponse(_content(path, piece).model_dump(mode="json"))


@router.put(
    FILE,
    summary="Write a file",
    response_model=FileWritten,
    responses={201: {"model": FileWritten, "description": "the file is new"}},
    openapi_extra={"requestBody": _WRITE_BODY},
)
async def write_file(
    *,
    session_id: UUID,
    path: str,
    caller: CallerDep,
    trees: TreesDep,
    request: Request,
    if_match: Annotated[str | None, Header()] = None,
    if_none_match: Annotated[str | None, Header()] = None,
) -> JSONResponse:
    tree = await trees.files(caller.tenant, str(session_id))
    parts = _parsed(path)
    content = _new_content(await request.body(), request.headers.get("content-type", ""))
    if len(content) > trees.limits.write_bytes:
        raise TooLarge(f"A file of at most {trees.limits.write_bytes} bytes can be written.")
    with _problems():
        state, created = await asyncio.to_thread(
            tree.write,
            parts,
            content,
            if_match=_tag(if_match),
            only_new=if_none_match == "*",
        )
    written = FileWritten(path=path, size=state.size, etag=state.etag, created=created)
    return JSONResponse(
        written.model_dump(mode="json"),
        status_code=201 if created else 200,
        headers={"ETag": f'"{state.etag}"'},
    )


class _problems:  # noqa: N801 - used like a function
    """What the tree refuses, as problems."""

    def __enter__(self) -> None:
        return

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, TreeError):
            raise _problem(error) from error


def _problem(error: TreeError) -> Problem:
    match error:
        case Missing():
            return NotFound(str(error), type="file-not-found")
        case Changed():
            return Problem(412, "file-changed", "Precondition Failed", str(error))
        case NotAFile():
            return Conflict(str(error), type="not-a-file")
        case NotPossible():
            return Conflict(str(error), type="file-not-accessible")
        case _:
            return Conflict(str(error))


def _parsed(path: str) -> tuple[str, ...]:
    try:
        return parse_path(path)
    except PathRefused as refused:
        raise Invalid(str(refused), type="path-refused") from None


def _parsed_folder(path: str) -> tuple[str, ...]:
    try:
        return parse_folder(path)
    except PathRefused as refused:
        raise Invalid(str(refused), type="path-refused") from None


def _new_content(body: bytes, content_type: str) -> bytes:
    if content_type.partition(";")[0].strip().lower() != "application/json":
        return body
    try:
        wanted = NewContent.model_validate_json(body)
        if wanted.encoding == "base64":
            return base64.b64decode(wanted.content, validate=True)
        return wanted.content.encode()
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise Invalid(f"{where}: {first['msg']}" if where else first["msg"]) from None
    except ValueError as error:  # binascii's own errors, and characters that are not ASCII at all
        raise Invalid(f"The content cannot be decoded: {error}.") from None


def _tag(header: str | None) -> str | None:
    if header is None or header.strip() == "*":
        return header and header.strip()
    tag = header.strip()
    if len(tag) < 2 or not (tag.startswith('"') and tag.endswith('"')):  # noqa: PLR2004 - two quotes
        raise BadRequest("If-Match takes one entity tag in double quotes.")
    return tag[1:-1]


def _content(path: str, piece: Piece) -> FileContent:
    end = piece.offset + len(piece.content)
    text, encoding = _text_or_base64(piece)
    return FileContent(
        path=path,
        size=piece.state.size,
        etag=piece.state.etag,
        modified_at=datetime.fromtimestamp(piece.state.modified_ns / 1e9, UTC),
        executable=piece.state.executable,
        encoding=encoding,
        content=text,
        offset=piece.offset,
        next_offset=end if piece.content and end < piece.state.size else None,
    )


def _text_or_base64(piece: Piece) -> tuple[str, Any]:
    if b"\0" not in piece.content:
        try:
            return piece.content.decode(), "utf-8"
        except UnicodeDecodeError:
            pass  # not text, or a part that begins or ends within a character
    return base64.b64encode(piece.content).decode(), "base64"


def _octets(piece: Piece, wanted: Range) -> Response:
    headers = {**_validators(piece.state), "Accept-Ranges": "bytes", "X-Content-Type-Options": "nosniff"}
    status = 200
    if wanted.partial:
        status = 206
        end = piece.offset + len(piece.content) - 1
        headers["Content-Range"] = f"bytes {piece.offset}-{end}/{piece.state.size}"
    return Response(piece.content, status_code=status, media_type=OCTETS, headers=headers)


def _validators(state: FileState) -> dict[str, str]:
    return {"ETag": f'"{state.etag}"', "Cache-Control": "no-cache"}

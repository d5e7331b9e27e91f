"""What previews print and use, for the gateway. The public API is the gateway's."""

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel

from runyard_chassis import Caller, CallerDep, Conflict, NotFound
from runyard_orchestrator.domain.preview import Preview
from runyard_orchestrator.preview_app import Previewing
from runyard_orchestrator.sandbox_api import Usage, first_usage, shown_usage, streamed
from runyard_orchestrator.store.previews import PreviewKey

router = APIRouter(tags=["previews"])
Tail = Annotated[int, Query(ge=1, le=2000)]


class PreviewLine(BaseModel):
    """One line that a preview printed."""

    at: datetime | None
    text: str
    stream: Literal["stdout", "stderr"]


class PreviewOutput(BaseModel):
    """The last lines of a preview's present container, or of the build of its image; none while there is neither."""

    lines: list[PreviewLine]


def _previews(request: Request) -> Previewing:
    found = getattr(request.app.state, "previews", None)
    if not isinstance(found, Previewing):
        raise TypeError("the service has not started")
    return found


PreviewsDep = Annotated[Previewing, Depends(_previews)]


@router.get("/previews/{preview_id}/logs")
async def logs(preview_id: str, caller: CallerDep, previews: PreviewsDep, tail: Tail = 200) -> PreviewOutput:
    """What it printed last."""
    key, preview = await _known(previews, caller, preview_id)
    if preview.container is None:
        return PreviewOutput(lines=[])
    if building := previews.keeper.images.said(key, tail):
        return PreviewOutput(lines=[PreviewLine(at=None, text=line, stream="stdout") for line in building])
    lines = await previews.boxes.tail(preview, tail)
    return PreviewOutput(lines=[PreviewLine(at=one.at, text=one.text, stream=one.stream) for one in lines])


@router.get("/previews/{preview_id}/stats", response_model=Usage)
async def stats(
    *, preview_id: str, caller: CallerDep, previews: PreviewsDep, follow: Annotated[bool, Query()] = False
) -> Any:
    """What it uses now; with `follow` about once a second, as server-sent events."""
    key, preview = await _known(previews, caller, preview_id)
    if preview.container is not None:
        if follow:
            return streamed(shown_usage(one) async for one in previews.boxes.stats(preview))
        if (known := previews.keeper.stats.latest(key)) is not None:
            return shown_usage(known)
        if (usage := await first_usage(previews.boxes.stats(preview))) is not None:
            return usage
    raise Conflict("The preview is not running.", type="preview-not-running")


async def _known(previews: Previewing, caller: Caller, preview_id: str) -> tuple[PreviewKey, Preview]:
    key = PreviewKey(caller.tenant, preview_id)
    preview = await previews.desk.preview(key)
    if preview.status in ("absent", "deleted"):
        raise NotFound("There is no such preview.", type="preview-not-found")
    return key, preview

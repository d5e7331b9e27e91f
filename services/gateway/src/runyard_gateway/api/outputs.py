"""Large tool outputs, whole."""

from typing import Annotated

from fastapi import APIRouter, Path
from starlette.responses import Response, StreamingResponse

from runyard_chassis import CallerDep, NotFound
from runyard_gateway.api.dependencies import GatewayDep

router = APIRouter(prefix="/api", tags=["runs"])

_UUID = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
Reference = Annotated[
    str,
    Path(pattern=f"^{_UUID}/{_UUID}/{_UUID}$", description="`outputRef` of a `ui.tool.result`."),
]


@router.get(
    "/outputs/{reference:path}",
    summary="The whole of a tool's output",
    response_class=Response,
    responses={200: {"description": "The bytes.", "content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def read_output(reference: Reference, caller: CallerDep, gateway: GatewayDep) -> Response:
    output = None
    if reference.partition("/")[0] == caller.tenant:
        output = await gateway.outputs.find(reference)
    if output is None:
        raise NotFound("There is no such output.", type="output-not-found")
    # Never a page of its own: what a tool has printed must not run in a browser.
    headers = {"Content-Length": str(output.size), "Content-Disposition": "attachment"}
    return StreamingResponse(gateway.outputs.read(output), media_type="text/plain; charset=utf-8", headers=headers)

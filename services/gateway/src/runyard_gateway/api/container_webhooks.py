"""The container-facing contract: with a session's token and HTTP, any program is that session's runner.

`GET .../messages` says what is to be done, `POST .../message(s)` tells what happens. Nothing else is needed;
see docs/guides/outside-runners.md.
"""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query
from pydantic import Field
from starlette.requests import Request
from starlette.types import Scope

from runyard_chassis import CallerDep, Conflict, NotFound, TimedOut, stopping_of
from runyard_chassis.auth import BearerToken, Container
from runyard_events.topology import OUTPUT_BYTES
from runyard_gateway.api.dependencies import GatewayDep, open_session
from runyard_gateway.api.fields import MAX_SEQ, Body, Id, JsonObject, Line, View

LONGEST_WAIT = 55
MOST_MESSAGES = 200
PREFIX = "/api/container-webhooks/"
_UUID = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"

router = APIRouter(prefix=f"{PREFIX}{{session_id}}", tags=["containers"])
token_router = APIRouter(prefix="/api/sessions/{session_id}/container", tags=["containers"])


def output_limit(scope: Scope) -> int | None:
    """The largest body of requests that bring an output."""
    path: str = scope["path"]
    is_output = scope["method"] == "PUT" and path.startswith(PREFIX) and "/outputs/" in path
    return OUTPUT_BYTES if is_output else None


class Said(Body):
    """One thing that a container says. A message with the same id counts once."""

    id: Line
    type: Line = Field(description="`ui.*`, or `run.started|completed|error|cancelled`.")
    payload: JsonObject = Field(default_factory=dict)


class SaidOne(Said):
    """The same, with the run that it is about: the active one when none is named."""

    run_id: UUID | None = None


class SaidMany(Body):
    """Several, in their order; either all of them are recorded or none."""

    messages: list[Said] = Field(min_length=1, max_length=MOST_MESSAGES)
    run_id: UUID | None = None


class Recorded(View):
    """How many were new, and the place of the last event."""

    accepted: int
    run_id: str
    seq: int | None


class ToDo(View):
    """Something for the container to do."""

    id: str
    seq: int
    type: Literal["prompt", "cancel", "steer", "approval", "ended"]
    run_id: str
    payload: dict[str, Any]


class ToDos(View):
    """What has come, and the cursor to ask with next time."""

    messages: list[ToDo]
    cursor: int


class Status(View):
    """That the token is good."""

    session_id: Id
    epoch: int


class SessionToken(View):
    """For a container of one's own: give it this and the two addresses."""

    session_id: Id
    token: str
    expires_at: datetime
    messages_path: str
    socket_path: str


async def container(session_id: UUID, token: BearerToken, gateway: GatewayDep) -> Container:
    """FastAPI dependency: the session's container."""
    return await gateway.door.admit(token, str(session_id))


ContainerDep = Annotated[Container, Depends(container)]


@router.get("", summary="Whether a session's token is still good")
async def container_status(box: ContainerDep) -> Status:
    return Status(session_id=box.session, epoch=box.epoch)


@router.get("/messages", summary="What there is to do")
async def read_messages(
    *,
    request: Request,
    box: ContainerDep,
    gateway: GatewayDep,
    after: Annotated[int, Query(ge=0, le=MAX_SEQ, description="The cursor of the last answer.")] = 0,
    wait: Annotated[float, Query(ge=0, le=LONGEST_WAIT, description="Seconds to wait when there is nothing.")] = 0,
) -> ToDos:
    stopping = stopping_of(request)
    messages, cursor = await gateway.door.inbox(box).read(after, wait_seconds=wait, stopping=stopping)
    return ToDos(messages=[ToDo.model_validate(message) for message in messages], cursor=cursor)


@router.post("/message", status_code=201, summary="Say what happens")
async def say_one(body: SaidOne, box: ContainerDep, gateway: GatewayDep, request: Request) -> Recorded:
    message = body.model_dump(mode="json", include={"id", "type", "payload"})
    size = len(await request.body())
    return Recorded.model_validate(await gateway.door.record(box, (message,), _id(body.run_id), size))


@router.post("/messages", status_code=201, summary="Say several things that happened")
async def say_many(body: SaidMany, box: ContainerDep, gateway: GatewayDep, request: Request) -> Recorded:
    messages = tuple(one.model_dump(mode="json") for one in body.messages)
    size = len(await request.body())
    return Recorded.model_validate(await gateway.door.record(box, messages, _id(body.run_id), size))


@router.put(
    "/outputs/{run_id}/{name}",
    status_code=201,
    summary="Keep a result that is too large for a message",
    openapi_extra={"requestBody": {"content": {"application/octet-stream": {}}, "required": True}},
    max_body_size=OUTPUT_BYTES,
)
async def put_output(
    *,
    run_id: UUID,
    name: Annotated[str, Path(pattern=f"^{_UUID}$", description="A fresh UUID.")],
    request: Request,
    box: ContainerDep,
    gateway: GatewayDep,
) -> dict[str, str]:
    """The answer's `ref` is what `outputRef` of a `ui.tool.result` says."""
    if not await gateway.door.has_run(box, str(run_id)):
        raise NotFound("The session has no such run.", type="run-not-found")
    reference = f"{box.tenant}/{run_id}/{name}"
    try:
        async with gateway.door.outputs.place(box.session):
            if await gateway.outputs.find(reference) is not None:
                raise Conflict("There is an output of this name already.", type="output-exists")
            await gateway.door.keep(box, reference, await request.body())
    except TimeoutError as error:
        raise TimedOut("The output did not come in time.", type="output-timeout") from error
    return {"ref": reference}


@token_router.post("/token", status_code=201, summary="A token for a container of one's own")
async def container_token(session_id: UUID, caller: CallerDep, gateway: GatewayDep) -> SessionToken:
    row = await open_session(gateway, caller, session_id)
    if row["runner_type"] != "external":
        raise Conflict("The session has a runner of our own.", type="session-not-external")
    token, expires = gateway.door.token(caller.tenant, str(session_id))
    return SessionToken(
        session_id=str(session_id),
        token=token,
        expires_at=expires,
        messages_path=f"{PREFIX}{session_id}/messages",
        socket_path=f"/ws/sessions/{session_id}?role=container",
    )


def _id(run_id: UUID | None) -> str | None:
    return None if run_id is None else str(run_id)

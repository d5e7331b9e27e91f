"""The WebSockets of a session and of a team."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query, WebSocket

from runyard_chassis import Caller, Problem, authenticate, bearer, stopping_of
from runyard_gateway.api.dependencies import gateway_of, open_session
from runyard_gateway.api.fields import MAX_SEQ
from runyard_gateway.api.streams import resume
from runyard_gateway.api.teams import check_team
from runyard_gateway.gateway import Gateway
from runyard_gateway.streaming.container_socket import ContainerSocket
from runyard_gateway.streaming.source import Place
from runyard_gateway.streaming.team import team_frame, team_place
from runyard_gateway.streaming.ws import first_message, stream

APPLICATION_CODES = 4000
"""WebSocket close codes that are the application's own begin here: 4401, 4404."""
router = APIRouter()


@router.websocket("/ws/sessions/{session_id}")
async def session_socket(
    *,
    socket: WebSocket,
    session_id: UUID,
    role: Literal["client", "container"] = "client",
    token: Annotated[str | None, Query(max_length=4096)] = None,
    from_seq: Annotated[int | None, Query(alias="from", ge=0, le=MAX_SEQ)] = None,
    kinds: Annotated[str | None, Query(max_length=100)] = None,
    telemetry: bool = False,
) -> None:
    """`{"id", "event"}` for each event. The token is in the query, a header, or the first message.

    With `role=container` it is the session's own token, and what comes and goes are the messages of
    `/api/container-webhooks`; `from` is the last `seq` that the container has seen.
    """
    gateway = gateway_of(socket)
    if role == "container":
        container = await gateway.door.admit(token or bearer(socket), str(session_id))
        await socket.accept()
        await ContainerSocket(socket, gateway.door, container).serve(from_seq or 0, stopping_of(socket))
        return
    wanted = await resume(from_seq, kinds, telemetry=telemetry)

    async def place(caller: Caller) -> Place:
        return await _place(gateway, caller, session_id, wanted.start(0), wanted.families)

    admitted = await _admit(socket, token, place)
    if admitted is not None:
        await stream(socket, gateway.source.subscribe(admitted), stopping_of(socket))


@router.websocket("/ws/teams/{team_id}")
async def team_socket(
    *,
    socket: WebSocket,
    team_id: UUID,
    token: Annotated[str | None, Query(max_length=4096)] = None,
    from_seq: Annotated[int | None, Query(alias="from", ge=0, le=MAX_SEQ)] = None,
) -> None:
    """`agent-output` and `agent-status` of all agents of the team, from now on or from `from` on."""
    gateway = gateway_of(socket)

    async def place(caller: Caller) -> Place:
        check_team(team_id, caller)
        await gateway.hub.live.wait()
        return team_place(caller.tenant, gateway.hub.position + 1 if from_seq is None else from_seq)

    admitted = await _admit(socket, token, place)
    if admitted is not None:
        await stream(socket, gateway.source.subscribe(admitted), stopping_of(socket), team_frame)


async def _admit(socket: WebSocket, token: str | None, place: Callable[[Caller], Awaitable[Place]]) -> Place | None:
    """Accepts a client whose token opens the place; None when it was sent away after its first message."""
    given = token or bearer(socket)
    if given:
        admitted = await place(authenticate(socket.app.state.tokens, given))
        await socket.accept()
        return admitted
    await socket.accept()
    message = await first_message(socket)
    try:
        return await place(authenticate(socket.app.state.tokens, _text(message.get("token"))))
    except Problem as problem:
        await socket.close(APPLICATION_CODES + problem.status, problem.detail)
        return None


async def _place(
    gateway: Gateway, caller: Caller, session_id: UUID, start: int, families: frozenset[str] | None
) -> Place:
    row = await open_session(gateway, caller, session_id)
    return Place(
        topic=f"ev.{caller.tenant}.session.{session_id}",
        start=max(start, row["first_seq"]),
        families=families,
    )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None

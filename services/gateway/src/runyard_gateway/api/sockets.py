"""The WebSocket of a session."""

from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query, WebSocket

from runyard_chassis import Caller, Forbidden, Problem, authenticate, bearer, stopping_of
from runyard_gateway.api.dependencies import gateway_of, open_session
from runyard_gateway.api.fields import MAX_SEQ
from runyard_gateway.api.streams import resume
from runyard_gateway.gateway import Gateway
from runyard_gateway.streaming.source import Place
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
) -> None:
    """`{"id", "event"}` for each event. The token is in the query, a header, or the first message."""
    if role != "client":
        raise Forbidden("Containers do not connect here yet.")
    gateway = gateway_of(socket)
    wanted = await resume(from_seq, kinds)
    given = token or bearer(socket)
    caller = authenticate(socket.app.state.tokens, given) if given else None
    if caller is not None:
        place = await _place(gateway, caller, session_id, wanted.start(0), wanted.families)
        await socket.accept()
    else:
        await socket.accept()
        message = await first_message(socket)
        try:
            caller = authenticate(socket.app.state.tokens, _text(message.get("token")))
            place = await _place(gateway, caller, session_id, wanted.start(0), wanted.families)
        except Problem as problem:
            await socket.close(APPLICATION_CODES + problem.status, problem.detail)
            return
    await stream(socket, gateway.source.subscribe(place), stopping_of(socket))


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

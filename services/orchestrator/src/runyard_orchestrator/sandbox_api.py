"""Routes about containers: what one uses and prints (for the gateway), and whether it may go out (for the proxy)."""

import hmac
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from runyard_chassis import Caller, CallerDep, Conflict, Forbidden, NotFound, Unavailable
from runyard_chassis.auth import bearer
from runyard_orchestrator.domain.sandbox import Sandbox
from runyard_orchestrator.sandbox_app import Sandboxing
from runyard_orchestrator.store.reading import SessionKey
from runyard_sandbox import EngineAway, LogLine, NotThere, Provisioner, SandboxFault, Stats
from runyard_sandbox.proxy.decisions import PASS_HEADER

router = APIRouter(tags=["sandboxes"])
Tail = Annotated[int, Query(ge=1, le=10_000)]
Follow = Annotated[bool, Query()]


class Line(BaseModel):
    """One line that a container printed."""

    at: datetime | None
    stream: Literal["stdout", "stderr"]
    text: str


class Lines(BaseModel):
    """The last lines, in order."""

    container_name: str | None
    lines: list[Line]


class Usage(BaseModel):
    """What a container uses. Bytes; `cpu_percent` of one core; null: not known."""

    at: datetime
    cpu_percent: float
    memory_bytes: int
    memory_limit_bytes: int | None
    disk_bytes: int | None
    processes: int | None
    received_bytes: int | None
    sent_bytes: int | None


class Answer(BaseModel):
    """Whether a connection is allowed, and for how many seconds that holds."""

    allowed: bool
    seconds: float


def _sandboxing(request: Request) -> Sandboxing:
    found = getattr(request.app.state, "sandboxing", None)
    if not isinstance(found, Sandboxing):
        raise TypeError("the service has not started")
    return found


BoxesDep = Annotated[Sandboxing, Depends(_sandboxing)]


@router.get("/sessions/{session_id}/sandbox/logs", response_model=Lines)
async def logs(*, session_id: str, caller: CallerDep, boxes: BoxesDep, tail: Tail = 200, follow: Follow = False) -> Any:
    """What a session's container printed; with `follow` also what it prints from now on, as server-sent events."""
    provisioner, box, name = await _container(boxes, caller, session_id)
    if follow:
        return streamed(_shown_line(boxes, line) async for line in provisioner.logs(name, follow=True, tail=tail))
    found: list[Line] = []
    try:
        async for line in provisioner.logs(name, tail=tail):
            found.append(_shown_line(boxes, line))  # noqa: PERF401 - what has been read before it vanishes counts
    except NotThere:
        pass
    except SandboxFault as error:
        raise _away(error) from error
    return Lines(container_name=box.name, lines=found)


@router.get("/sessions/{session_id}/sandbox/stats", response_model=Usage)
async def stats(*, session_id: str, caller: CallerDep, boxes: BoxesDep, follow: Follow = False) -> Any:
    """What a session's container uses now; with `follow` about once a second, as server-sent events."""
    provisioner, box, name = await _container(boxes, caller, session_id)
    if box.status != "running":
        raise Conflict("The session's container is not running.", type="sandbox-not-running")
    if follow:
        return streamed(shown_usage(one) async for one in provisioner.stats(name))
    known = boxes.telemetry.latest(SessionKey(caller.tenant, session_id)) if boxes.telemetry else None
    if known is not None:
        return shown_usage(known)
    if (usage := await first_usage(provisioner.stats(name))) is not None:
        return usage
    raise Conflict("The session's container is not running.", type="sandbox-not-running")


@router.get("/internal/egress", include_in_schema=False)
async def egress(
    request: Request,
    boxes: BoxesDep,
    peer: Annotated[str, Query(max_length=64)],
    host: Annotated[str, Query(max_length=260)],
    port: Annotated[int, Query()],
) -> Answer:
    """Whether the container at this address, or with this pass, may reach a host. Only the proxy asks, with a token."""
    if not hmac.compare_digest((bearer(request) or "").encode(), boxes.decisions_token.encode()):
        raise Forbidden("Only the proxy of containers asks this.")
    allowed, seconds = await boxes.egress.decide(peer, host, port, request.headers.get(PASS_HEADER))
    return Answer(allowed=allowed, seconds=seconds)


async def _container(boxes: Sandboxing, caller: Caller, session_id: str) -> tuple[Provisioner, Sandbox, str]:
    box = await boxes.rows.sandbox(SessionKey(caller.tenant, session_id))
    if box.status == "absent":
        raise NotFound("The session has no container.", type="container-not-found")
    if boxes.containers is None or box.name is None or box.status == "deleted":
        raise Conflict("The session's container is not there.", type="sandbox-absent")
    return boxes.containers.provisioner, box, box.name


def _shown_line(boxes: Sandboxing, line: LogLine) -> Line:
    return Line(at=line.at, stream=line.stream, text=boxes.redactor.clean(line.text))


async def first_usage(measures: AsyncIterator[Stats]) -> Usage | None:
    """The next of these measures; None: its container is not there any more.

    Raises:
        Unavailable: the engine does not answer.
    """
    try:
        async with aclosing(_generator(measures)) as found:
            async for one in found:
                return shown_usage(one)
    except NotThere:
        pass
    except SandboxFault as error:
        raise _away(error) from error
    return None


def shown_usage(one: Stats) -> Usage:
    """Measures as this API shows them."""
    return Usage(**{name: getattr(one, name) for name in Usage.model_fields})


def streamed(items: AsyncIterator[BaseModel]) -> Response:
    """Server-sent events, until there is nothing more or the engine goes away."""

    async def body() -> AsyncGenerator[str]:
        yield ": connected\n\n"
        try:
            async for item in items:
                yield f"data: {item.model_dump_json()}\n\n"
        except SandboxFault:
            return

    headers = {"Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no"}
    return StreamingResponse(body(), media_type="text/event-stream", headers=headers)


async def _generator(items: AsyncIterator[Stats]) -> AsyncGenerator[Stats]:
    async for item in items:
        yield item


def _away(error: SandboxFault) -> Unavailable:
    what = "does not answer" if isinstance(error, EngineAway) else "cannot say this"
    return Unavailable(f"The container engine {what}.", type="engine-away")

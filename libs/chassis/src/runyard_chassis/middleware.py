"""Plain ASGI middlewares: bodies pass through as they come, nothing is buffered."""

import asyncio
import re
import time
import uuid
from collections.abc import Callable
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from runyard_chassis.errors import problem_response
from runyard_chassis.logs import get_logger, log_context
from runyard_chassis.metrics import HttpMetrics
from runyard_chassis.problems import BadRequest, InternalError, TooLarge, Unavailable

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_log = get_logger(__name__)


class RequestContext:
    """Gives each request an id, its place in logs and metrics, and the safe response headers."""

    def __init__(self, app: ASGIApp, *, service: str, metrics: HttpMetrics) -> None:
        self._app = app
        self._service = service
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        offered = Headers(scope=scope).get("x-request-id", "")
        request_id = offered if _REQUEST_ID.fullmatch(offered) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        with log_context(service=self._service, request_id=request_id):
            if scope["type"] == "websocket":
                await self._app(scope, receive, send)
            elif b"%00" in scope.get("raw_path", b"") or b"%00" in scope.get("query_string", b""):
                # No address of ours has a NUL, and PostgreSQL takes none: it would end as a 500.
                refusal = problem_response(BadRequest("The address has a NUL character."))
                await _Exchange(scope, send, request_id, self._metrics).run(refusal, receive)
            else:
                await _Exchange(scope, send, request_id, self._metrics).run(self._app, receive)


class _Exchange:
    """One request and its answer."""

    def __init__(self, scope: Scope, send: Send, request_id: str, metrics: HttpMetrics) -> None:
        self._scope, self._send, self._metrics = scope, send, metrics
        self._request_id = request_id
        self._status = 500
        self._first_byte: float | None = None
        self._is_stream = False

    async def run(self, app: ASGIApp, receive: Receive) -> None:
        began = time.perf_counter()
        self._metrics.in_flight.inc()
        try:
            await app(self._scope, receive, self._sending)
        except Exception:
            if self._first_byte is not None:
                # Half an answer is out: only a cut connection tells the client that the rest is missing.
                raise
            _log.exception("http.failed", method=self._scope["method"], route=route_template(self._scope))
            problem = InternalError("Something went wrong on our side.", request_id=self._request_id)
            await problem_response(problem)(self._scope, receive, self._sending)
        finally:
            self._metrics.in_flight.dec()
            if self._is_stream:
                self._metrics.streams.dec()
            ended = self._first_byte if self._is_stream and self._first_byte else time.perf_counter()
            self._account(ended - began)

    async def _sending(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self._first_byte = time.perf_counter()
            headers = MutableHeaders(scope=message)
            headers["X-Request-Id"] = self._request_id
            headers.setdefault("X-Content-Type-Options", "nosniff")
            if _is_event_stream(message):
                self._is_stream = True
                self._metrics.streams.inc()
        await self._send(message)

    def _account(self, seconds: float) -> None:
        method, route = self._scope["method"], route_template(self._scope)
        self._metrics.answered(method, route, self._status, seconds)
        _log.debug(
            "http.answered",
            method=method,
            route=route,
            status=self._status,
            milliseconds=round(seconds * 1000, 2),
        )


def route_template(scope: Scope) -> str:
    """The route's pattern (`/api/runs/{run_id}`), or `(unmatched)`."""
    route: Any = scope.get("route")
    template = getattr(route, "path_format", None) or getattr(route, "path", None)
    return template if isinstance(template, str) else "(unmatched)"


class BodyLimit:
    """Refuses a body over the limit with 413, also one sent in chunks without a length.

    `special` names the limit of requests that have one of their own.
    """

    def __init__(
        self, app: ASGIApp, *, max_bytes: int, special: Callable[[Scope], int | None] = lambda _: None
    ) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._special = special

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = self._special(scope) or self._max_bytes
        announced = Headers(scope=scope).get("content-length", "")
        if announced.isdecimal() and int(announced) > limit:
            await problem_response(_too_large(limit))(scope, receive, send)
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                # An HTTPException: FastAPI lets it through where it would call any other error a broken body.
                raise HTTPException(413, _too_large(limit).detail)
            return message

        await self._app(scope, counted, send)


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"The body may have at most {limit} bytes.")


class EndStreams:
    """Ends open event streams and WebSockets when the service stops, cleanly, so that a stop is quick.

    uvicorn waits for its connections and then cuts them. A client that is cut sees an error; one whose stream ends
    reconnects with its `Last-Event-ID`. Who has not been answered by then is told to come again.
    """

    def __init__(self, app: ASGIApp, *, stopping: asyncio.Event) -> None:
        self._app = app
        self._stopping = stopping

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in {"http", "websocket"}:
            await _EndableStream(self._stopping, send).run(self._app, scope, receive)
        else:
            await self._app(scope, receive, send)


class _EndableStream:
    def __init__(self, stopping: asyncio.Event, send: Send) -> None:
        self._stopping, self._send = stopping, send
        self._request: asyncio.Task[Any] | None = asyncio.current_task()
        self._watcher: asyncio.Task[None] | None = None
        self._ended_by_us = False
        self._has_begun = False

    async def run(self, app: ASGIApp, scope: Scope, receive: Receive) -> None:
        try:
            await app(scope, receive, self._sending)
        except asyncio.CancelledError:
            is_cut = self._stopping.is_set() and scope["type"] == "http" and not self._has_begun
            if not self._ended_by_us and not is_cut:
                raise
            if self._request is not None:
                self._request.uncancel()
            if is_cut:
                stopping = Unavailable("The service stops; ask again in a moment.", type="service-stopping")
                await problem_response(stopping.with_headers(Retry_After="1"))(scope, receive, self._send)
            else:
                await self._send(_LAST_MESSAGE[scope["type"]])
        finally:
            if self._watcher is not None:
                self._watcher.cancel()

    async def _sending(self, message: Message) -> None:
        self._has_begun = True
        if message["type"] == "websocket.accept" or _is_event_stream(message):
            self._watcher = asyncio.create_task(self._end_when_stopping())
        await self._send(message)

    async def _end_when_stopping(self) -> None:
        await self._stopping.wait()
        if self._request is not None:
            self._ended_by_us = True
            self._request.cancel()


_LAST_MESSAGE: dict[str, Message] = {
    "http": {"type": "http.response.body", "body": b"", "more_body": False},
    "websocket": {"type": "websocket.close", "code": 1012, "reason": "The service restarts."},
}


def _is_event_stream(message: Message) -> bool:
    if message["type"] != "http.response.start":
        return False
    return Headers(raw=message["headers"]).get("content-type", "").startswith("text/event-stream")

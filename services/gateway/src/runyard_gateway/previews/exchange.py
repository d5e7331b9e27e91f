"""One HTTP request through the proxy: both bodies are passed on as they come, nothing is gathered."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass

import aiohttp
from multidict import CIMultiDict
from starlette.types import Receive, Scope, Send
from yarl import URL

from runyard_events.tasks import end_tasks
from runyard_gateway.previews.headers import Visit, request_headers, response_headers

_LOOK_SECONDS = 2.0
_SKIPPED = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")


@dataclass(frozen=True, slots=True)
class Limits:
    """What one preview may take of the gateway."""

    body_bytes: int = 64 * 1024**2
    first_byte_seconds: float = 120
    """A development server may build a page only when it is asked for it."""
    idle_seconds: float = 300
    connect_seconds: float = 5
    at_once: int = 256
    message_bytes: int = 16 * 1024**2


class ClientGone(Exception):
    """The browser has closed the connection."""


class BodyTooLarge(Exception):
    """The browser sends more than is taken."""


class Silent(Exception):
    """The preview's server does not answer."""


class _Body:
    """The request's body, read by one reader at a time; afterwards it tells when the browser has gone."""

    def __init__(self, receive: Receive, limit: int, *, is_empty: bool) -> None:
        self._receive = receive
        self._limit = limit
        self.problem: ClientGone | BodyTooLarge | None = None
        self._read = asyncio.Event()
        if is_empty:
            self._read.set()

    async def chunks(self) -> AsyncGenerator[bytes]:
        size = 0
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self.problem = ClientGone()
                raise self.problem
            chunk = message.get("body", b"")
            size += len(chunk)
            if size > self._limit:
                self.problem = BodyTooLarge()
                raise self.problem
            if chunk:
                yield chunk
            if not message.get("more_body"):
                self._read.set()
                return

    async def gone(self) -> None:
        await self._read.wait()
        while (await self._receive())["type"] != "http.disconnect":
            pass


class Exchange:
    """Passes a request on, and its answer back."""

    def __init__(self, session: aiohttp.ClientSession, limits: Limits, stopping: asyncio.Event) -> None:
        self._session = session
        self._limits = limits
        self._stopping = stopping
        self._begun = False

    async def run(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        address: str,
        visit: Visit,
        allowed: Callable[[], Awaitable[bool]],
    ) -> None:
        """Until the answer is passed on, the browser has gone, the service stops, or the visitor may see it no more.

        Raises:
            Silent: nothing was answered; nothing has been sent to the browser yet.
            BodyTooLarge: likewise.
        """
        names = {name for name, _ in scope["headers"]}
        is_empty = not names & {b"content-length", b"transfer-encoding"}
        body = _Body(receive, self._limits.body_bytes, is_empty=is_empty)
        work = asyncio.create_task(self._pass_on(scope, send, None if is_empty else body, address, visit))
        gone, over = asyncio.create_task(body.gone()), asyncio.create_task(is_dismissed(allowed, self._stopping))
        try:
            await asyncio.wait({work, gone, over}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                with contextlib.suppress(ClientGone):
                    work.result()
            elif over.done() and not self._begun:
                raise Silent("it is over")
        finally:
            await end_tasks(work, gone, over)

    async def _pass_on(self, scope: Scope, send: Send, body: _Body | None, address: str, visit: Visit) -> None:
        headers = CIMultiDict(request_headers(scope["headers"], visit))
        answer = await self._asked(scope["method"], target(scope, address), headers, body)
        try:
            self._begun = True
            await send(
                {
                    "type": "http.response.start",
                    "status": answer.status,
                    "headers": response_headers(answer.raw_headers, visit),
                }
            )
            async for chunk in answer.content.iter_any():
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        finally:
            answer.close()

    async def _asked(
        self, method: str, url: URL, headers: CIMultiDict[str], body: _Body | None
    ) -> aiohttp.ClientResponse:
        data = None if body is None else body.chunks()
        try:
            async with asyncio.timeout(self._limits.first_byte_seconds):
                return await self._session.request(
                    method, url, headers=headers, data=data, allow_redirects=False, skip_auto_headers=_SKIPPED
                )
        except (aiohttp.ClientError, OSError, TimeoutError, ClientGone, BodyTooLarge) as error:
            if body is not None and body.problem is not None:
                raise body.problem from error
            raise Silent(type(error).__name__) from error


async def is_dismissed(allowed: Callable[[], Awaitable[bool]], stopping: asyncio.Event) -> bool:
    """Returns when a visitor may see the preview no more (True), or when the service stops."""
    while True:
        try:
            async with asyncio.timeout(_LOOK_SECONDS):
                await stopping.wait()
        except TimeoutError:
            if not await allowed():
                return True
        else:
            return False


def target(scope: Scope, address: str) -> URL:
    """The address at the preview's server, path and query as the browser wrote them.

    In parts: a path that does not begin with a slash would go on with the name of the host (`*@another.example/`).

    Raises:
        ValueError: the path is none.
    """
    path, query = raw_path(scope).decode("latin-1"), scope.get("query_string", b"").decode("latin-1")
    if not path.startswith("/"):
        raise ValueError("a path begins with a slash")
    return URL.build(scheme="http", authority=address, path=path, query_string=query, encoded=True)


def raw_path(scope: Scope) -> bytes:
    """The path as the browser wrote it."""
    return scope.get("raw_path") or scope["path"].encode()


def new_session(limits: Limits) -> aiohttp.ClientSession:
    """The client that all previews are asked with: it keeps no cookies, follows nothing, unpacks nothing."""
    return aiohttp.ClientSession(
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=30),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=limits.connect_seconds, sock_read=limits.idle_seconds),
        trust_env=False,
    )

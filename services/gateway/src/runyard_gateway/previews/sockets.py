"""One WebSocket through the proxy, message by message, for as long as its visitor may see the preview."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
from multidict import CIMultiDict
from starlette.types import Receive, Scope, Send

from runyard_events.tasks import end_tasks
from runyard_gateway.previews.exchange import Limits, Silent, is_dismissed, target
from runyard_gateway.previews.headers import Visit, request_headers

GOING_AWAY = 1001
NO_LONGER_ALLOWED = 4401
_NORMAL = 1000
_NOT_TO_BE_SENT = frozenset({1004, 1005, 1006, 1015})


class Tunnel:
    """Joins a browser's WebSocket with one of the preview's server."""

    def __init__(self, session: aiohttp.ClientSession, limits: Limits, stopping: asyncio.Event) -> None:
        self._session = session
        self._limits = limits
        self._stopping = stopping

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
        """Until either side closes, the service stops, or the visitor may see it no more.

        Raises:
            Silent: the preview's server takes no WebSocket here; the browser's has not been accepted.
        """
        upstream = await self._joined(scope, address, visit)
        try:
            await receive()  # the browser's own opening
            await send({"type": "websocket.accept", "subprotocol": upstream.protocol, "headers": []})
            code, reason = await self._talk(upstream, receive, send, allowed)
        finally:
            await upstream.close()
        if code is not None:
            await send({"type": "websocket.close", "code": code, "reason": reason})

    async def _joined(self, scope: Scope, address: str, visit: Visit) -> aiohttp.ClientWebSocketResponse:
        try:
            async with asyncio.timeout(self._limits.first_byte_seconds):
                return await self._session.ws_connect(
                    target(scope, address),
                    headers=CIMultiDict(request_headers(scope["headers"], visit)),
                    protocols=scope.get("subprotocols", []),
                    max_msg_size=self._limits.message_bytes,
                    compress=0,
                )
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise Silent(type(error).__name__) from error

    async def _talk(
        self,
        upstream: aiohttp.ClientWebSocketResponse,
        receive: Receive,
        send: Send,
        allowed: Callable[[], Awaitable[bool]],
    ) -> tuple[int | None, str]:
        """Code and reason to close the browser's side with; no code: it has closed itself."""
        inward = asyncio.create_task(_inward(upstream, receive))
        outward = asyncio.create_task(_outward(upstream, send))
        watch = asyncio.create_task(is_dismissed(allowed, self._stopping))
        try:
            await asyncio.wait({inward, outward, watch}, return_when=asyncio.FIRST_COMPLETED)
            if watch.done():
                return NO_LONGER_ALLOWED if watch.result() else GOING_AWAY, ""
            if outward.done() and not outward.cancelled() and outward.exception() is None:
                return outward.result()
            return None, ""
        finally:
            await end_tasks(inward, outward, watch)


async def _inward(upstream: aiohttp.ClientWebSocketResponse, receive: Receive) -> None:
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            code = message.get("code") or _NORMAL
            await upstream.close(code=_NORMAL if code in _NOT_TO_BE_SENT else code)
            return
        if message.get("text") is not None:
            await upstream.send_str(message["text"])
        elif message.get("bytes") is not None:
            await upstream.send_bytes(message["bytes"])


async def _outward(upstream: aiohttp.ClientWebSocketResponse, send: Send) -> tuple[int, str]:
    while True:
        message = await upstream.receive()
        match message.type:
            case aiohttp.WSMsgType.TEXT:
                await send({"type": "websocket.send", "text": message.data})
            case aiohttp.WSMsgType.BINARY:
                await send({"type": "websocket.send", "bytes": message.data})
            case aiohttp.WSMsgType.CLOSE:
                return _closing(message)
            case _:
                return upstream.close_code or GOING_AWAY, ""


def _closing(message: aiohttp.WSMessage) -> tuple[int, str]:
    code: Any = message.data
    number = code if isinstance(code, int) and code not in _NOT_TO_BE_SENT else _NORMAL
    return number, str(message.extra or "")

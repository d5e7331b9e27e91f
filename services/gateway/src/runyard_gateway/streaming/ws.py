"""Events over WebSocket: of a session as `{"id", "event"}`, or framed otherwise."""

import asyncio
import json
from collections.abc import Callable
from contextlib import aclosing, suppress
from typing import Any, cast

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from runyard_gateway.streaming.delivery import Delivery, ws_frame
from runyard_gateway.streaming.source import Following

GOING_AWAY = 1001
PING = '{"type":"ping"}'
_LONGEST_MESSAGE = 4096


async def first_message(socket: WebSocket, *, seconds: float = 10) -> dict[str, Any]:
    """The first message as a JSON object; anything else, or none in time, is an empty one."""
    try:
        async with asyncio.timeout(seconds):
            text = await socket.receive_text()
        body: Any = json.loads(text) if len(text) <= _LONGEST_MESSAGE else None
    except (TimeoutError, ValueError, KeyError, RecursionError, WebSocketDisconnect):
        return {}
    return cast("dict[str, Any]", body) if isinstance(body, dict) else {}


async def stream(
    socket: WebSocket,
    following: Following,
    stopping: asyncio.Event,
    frame: Callable[[Delivery], str | None] = ws_frame,
) -> None:
    """Sends events until the session ends, the client goes or is cut, or the service stops."""
    listener = asyncio.create_task(_listen(socket, following))
    watcher = asyncio.create_task(_close_when_stopping(following, stopping))
    try:
        async with aclosing(following.batches()) as batches:
            async for batch in batches:
                if not batch:
                    await socket.send_text(PING)
                for one in batch:
                    if (text := frame(one)) is not None:
                        await socket.send_text(text)
    except WebSocketDisconnect:
        return
    finally:
        listener.cancel()
        watcher.cancel()
    if socket.application_state is WebSocketState.CONNECTED:
        with suppress(RuntimeError, WebSocketDisconnect):
            await socket.close(GOING_AWAY, "resume with ?from=<last id + 1>")


async def _listen(socket: WebSocket, following: Following) -> None:
    """Answers a client's pings; what else it says means nothing yet."""
    with suppress(WebSocketDisconnect, RuntimeError):
        while True:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                break
            if message.get("text") == PING:
                await socket.send_text('{"type":"pong"}')
    following.close()


async def _close_when_stopping(following: Following, stopping: asyncio.Event) -> None:
    await stopping.wait()
    following.close()

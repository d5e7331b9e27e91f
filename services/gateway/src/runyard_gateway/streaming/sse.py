"""Server-sent events as a raw ASGI response: stored bytes out, many events per write."""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from runyard_chassis.logs import get_logger
from runyard_events.errors import LogUnavailable
from runyard_gateway.streaming.delivery import Delivery
from runyard_gateway.streaming.source import Following

CONNECTED = b": connected\n\n"
HEARTBEAT = b": heartbeat\n\n"
HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",
}
_WRITE_BYTES = 256 * 1024
_log = get_logger(__name__)


class EventStream(Response):
    """Streams what `following` gives until it ends or the client goes; `opening` comes first, behind `: connected`."""

    media_type = "text/event-stream"

    def __init__(self, following: Following, *, opening: bytes = b"", only_history: bool = False) -> None:
        super().__init__(headers=HEADERS)
        del self.headers["content-length"]
        self._following = following
        self._opening = opening
        self._only_history = only_history

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await _write(send, CONNECTED + self._opening)
        watcher = asyncio.create_task(self._close_when_gone(receive))
        try:
            await self._pump(send)
        except LogUnavailable as error:
            _log.warning("stream.ended_early", error=str(error))
        finally:
            watcher.cancel()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _pump(self, send: Send) -> None:
        async with aclosing(self._following.batches(only_history=self._only_history)) as batches:
            async for batch in batches:
                if not batch:
                    await _write(send, HEARTBEAT)
                for chunk in _chunks(batch):
                    await _write(send, chunk)

    async def _close_when_gone(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._following.close()


async def _write(send: Send, body: bytes) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": True})


def _chunks(batch: Sequence[Delivery]) -> Sequence[bytes]:
    """The frames of a batch in few writes, none much larger than 256 KB unless one event is."""
    if len(batch) == 1:
        return (batch[0].frame,)
    chunks: list[bytes] = []
    frames: list[bytes] = []
    size = 0
    for one in batch:
        frames.append(one.frame)
        size += len(one.frame)
        if size >= _WRITE_BYTES:
            chunks.append(b"".join(frames))
            frames, size = [], 0
    if frames:
        chunks.append(b"".join(frames))
    return chunks

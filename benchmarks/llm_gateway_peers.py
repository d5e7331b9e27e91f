"""Who llm-gateway is measured with: a provider that answers at once, and the bare pass-through that is the floor.

`python llm_gateway_peers.py upstream|floor --port N` serves one of them.
"""

import argparse
import asyncio
import json
from typing import Any, cast

import aiohttp
import uvicorn
import uvloop

TOKENS = 50
FIRST_TOKEN_SECONDS = 0.02
BETWEEN_TOKENS_SECONDS = 0.002
USAGE: dict[str, Any] = {
    "input_tokens": 1200,
    "input_tokens_details": {"cached_tokens": 1000},
    "output_tokens": TOKENS,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 1250,
}
RESPONSE: dict[str, Any] = {"id": "resp_1", "object": "response", "status": "completed", "output": [], "usage": USAGE}


def _sse(event: dict[str, Any]) -> bytes:
    data = f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


_BODY = json.dumps(RESPONSE).encode()
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(_BODY), _BODY)
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
CREATED = _sse({"type": "response.created", "response": RESPONSE | {"usage": None}})
DELTA = _sse({"type": "response.output_text.delta", "item_id": "msg_1", "output_index": 0, "delta": "word "})
COMPLETED = _sse({"type": "response.completed", "response": RESPONSE}) + b"0\r\n\r\n"


class Provider(asyncio.Protocol):
    """HTTP/1.1 with content lengths, just enough of it. Streams are paced unless the model is `gpt-5-fast`."""

    def __init__(self) -> None:
        self._buffer = b""
        self._tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Answers each whole request."""
        self._buffer += data
        head, separator, rest = self._buffer.partition(b"\r\n\r\n")
        if not separator:
            return
        length = next(
            (int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0
        )
        if len(rest) < length:
            return
        body, self._buffer = rest[:length], rest[length:]
        if b'"stream": true' not in body:
            self._transport.write(ANSWER)
        elif b"gpt-5-fast" in body:
            self._transport.write(HEAD + CREATED + DELTA * TOKENS + COMPLETED)
        else:
            task = asyncio.get_running_loop().create_task(self._paced())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _paced(self) -> None:
        self._transport.write(HEAD + CREATED)
        await asyncio.sleep(FIRST_TOKEN_SECONDS)
        for _ in range(TOKENS):
            self._transport.write(DELTA)
            await asyncio.sleep(BETWEEN_TOKENS_SECONDS)
        self._transport.write(COMPLETED)


async def upstream(port: int) -> None:
    """Serves the provider."""
    server = await asyncio.get_running_loop().create_server(Provider, "127.0.0.1", port, backlog=512)
    await server.serve_forever()


class Floor:
    """An ASGI app that passes bytes through aiohttp and does nothing else: no token, no usage, no ledger."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._session: aiohttp.ClientSession | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """One request."""
        if scope["type"] == "lifespan":
            while True:
                kind = (await receive())["type"]
                await send({"type": f"{kind}.complete"})
                if kind == "lifespan.shutdown":
                    return
        if self._session is None:
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=512), auto_decompress=False)
        body = (await receive())["body"]
        headers = {"content-type": "application/json"}
        async with self._session.post(self._target + scope["path"], data=body, headers=headers) as response:
            kind = response.headers["content-type"].encode()
            await send({"type": "http.response.start", "status": response.status, "headers": [(b"content-type", kind)]})
            async for piece in response.content.iter_any():
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b""})


def main() -> None:
    """Serves the peer that the command line names."""
    parser = argparse.ArgumentParser()
    parser.add_argument("peer", choices=("upstream", "floor"))
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--target", default="")
    options = parser.parse_args()
    if options.peer == "upstream":
        uvloop.run(upstream(options.port))
    else:
        uvicorn.run(Floor(options.target), host="127.0.0.1", port=options.port, log_level="warning", access_log=False)


if __name__ == "__main__":
    main()

"""What a preview serves in the tests of the proxy: a program that tells what it was asked."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket


async def _echo(request: Request) -> Response:
    headers = {name: request.headers.getlist(name) for name in request.headers}
    target = request.scope["raw_path"].decode() + "?" + request.scope["query_string"].decode()
    return JSONResponse({"headers": headers, "body": (await request.body()).decode(), "target": target})


async def _set_cookies(_: Request) -> Response:
    answer = PlainTextResponse("")
    for value in (
        "own=1; Path=/; Domain=preview.localhost; HttpOnly",
        "__Host-runyard-preview=stolen; Path=/; Secure",
        "runyard_session=stolen; Domain=localhost",
        "__Secure-Runyard=stolen",
    ):
        answer.headers.append("Set-Cookie", value)
    answer.headers.update({"Clear-Site-Data": '"cookies"', "X-Frame-Options": "DENY", "Keep-Alive": "timeout=5"})
    return answer


async def _away(request: Request) -> Response:
    return RedirectResponse(f"http://{request.headers['host']}/there?x=1")


async def _drip(request: Request) -> Response:
    async def parts() -> AsyncIterator[bytes]:
        try:
            yield b"first"
            await asyncio.Event().wait()
        finally:
            request.app.state.ended.set()

    return StreamingResponse(parts(), media_type="text/event-stream")


async def _never(request: Request) -> Response:
    request.app.state.asked.set()
    await asyncio.Event().wait()
    raise AssertionError


async def _upload(request: Request) -> Response:
    return PlainTextResponse(str(sum([len(part) async for part in request.stream()])))


async def _socket(websocket: WebSocket) -> None:
    await websocket.accept(subprotocol="vite-hmr" if "vite-hmr" in websocket.scope["subprotocols"] else None)
    await websocket.send_json(dict(websocket.headers.items()))
    with contextlib.suppress(Exception):
        while True:
            message = await websocket.receive()
            if message.get("text") == "bye":
                await websocket.close(4321, "enough")
                return
            if message.get("text") is not None:
                await websocket.send_text(message["text"].upper())
            elif message.get("bytes") is not None:
                await websocket.send_bytes(message["bytes"][::-1])
            else:
                return


def program() -> Starlette:
    """The program; `state.ended` is set when its endless answer was left, `state.asked` when it was asked for none."""
    app = Starlette(
        routes=[
            Route("/echo/{rest:path}", _echo, methods=["GET", "POST"]),
            Route("/cookies", _set_cookies),
            Route("/away", _away),
            Route("/drip", _drip),
            Route("/never", _never),
            Route("/upload", _upload, methods=["POST"]),
            WebSocketRoute("/socket", _socket),
        ]
    )
    app.state.ended, app.state.asked = asyncio.Event(), asyncio.Event()
    return app

"""The scripted model as an HTTP server of its own, for tests and benchmarks that need an upstream."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from pydantic_core import from_json

from runyard_llm_gateway.api_errors import error_of, openai_error
from runyard_llm_gateway.models import scripted_list
from runyard_llm_gateway.paths import Address, address, model_call, model_list
from runyard_llm_gateway.providers.scripted.frames import compact
from runyard_llm_gateway.providers.scripted.provider import ScriptedProvider

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

MODEL = "runyard-scripted"


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """An ASGI application without authorisation: bind it to loopback only."""
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
        return
    path: str = scope["path"]
    if path == "/health":
        await _json(send, 200, {"status": "ok"})
    elif (api := model_list(path, tuple(scope["headers"]))) is not None:
        await _json(send, 200, scripted_list(api, (MODEL,)))
    elif scope["method"] == "POST" and (place := address(path, scope["query_string"])) is not None:
        await _answer(place, scope, await _body(receive), send)
    else:
        await _json(send, 404, openai_error(404, f"no route {path}"))


async def _answer(place: Address, scope: Scope, body: bytes, send: Send) -> None:
    try:
        parsed = from_json(body)
    except ValueError:
        parsed = None
    if not isinstance(parsed, dict):
        await _json(send, 400, error_of(place.api, 400, "the body is not a JSON object"))
        return
    request: dict[str, Any] = parsed  # pyright: ignore[reportUnknownVariableType]
    answer = await ScriptedProvider().send(model_call(place, scope, body, request))
    await send({"type": "http.response.start", "status": answer.status, "headers": list(answer.headers)})
    async for piece in answer.body:  # StreamBroken passes through: the server drops the connection
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _body(receive: Receive) -> bytes:
    parts: list[bytes] = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


async def _json(send: Send, status: int, body: dict[str, Any]) -> None:
    data = compact(body).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(data)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": data})


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return

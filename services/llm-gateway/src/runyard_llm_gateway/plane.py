"""The data plane: the model APIs, in front of everything else so that nothing stands between caller and provider."""

import json
import re
from dataclasses import replace
from typing import Any
from uuid import uuid4

from pydantic_core import from_json

from runyard_llm_gateway.access import Refused, RunAccess, RunCaller
from runyard_llm_gateway.api_errors import error_body
from runyard_llm_gateway.domain import CallRecord
from runyard_llm_gateway.exchange import Exchange, Message, Receive, Send, hides_usage
from runyard_llm_gateway.json_values import mapping
from runyard_llm_gateway.ledger import Ledger, LedgerBehind
from runyard_llm_gateway.measures import Measures
from runyard_llm_gateway.models import answer_with_list
from runyard_llm_gateway.paths import Address, address, model_call, model_list
from runyard_llm_gateway.providers.base import Api, Headers, ModelCall
from runyard_llm_gateway.routing import Routes

Scope = Message

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_MODEL_LENGTH = 200


class DataPlane:
    """Answers model calls; one per process, made when the service starts."""

    def __init__(
        self,
        *,
        access: RunAccess,
        routes: Routes,
        ledger: Ledger,
        measures: Measures,
        models: tuple[str, ...],
        max_body_bytes: int,
        max_answer_bytes: int,
    ) -> None:
        self._access = access
        self._routes = routes
        self._ledger = ledger
        self._measures = measures
        self._models = models
        self._max_body = max_body_bytes
        self._max_answer = max_answer_bytes

    async def serve(self, place: Address, scope: Scope, receive: Receive, send: Send) -> None:
        """One call, from its token to its event."""
        api = place.api
        try:
            caller = self._access.caller(tuple(scope["headers"]), scope["query_string"])
            body = await _read(receive, self._max_body)
            call = _call(place, scope, body)
            await self._ledger.place()
        except Refused as refusal:
            self._measures.refused(api, refusal.status)
            await _send_error(send, api, refusal.status, str(refusal))
            return
        except LedgerBehind:
            self._measures.refused(api, 503)
            await _send_error(send, api, 503, "Runyard's event log is away; calls are not taken on unrecorded.")
            return
        except _Gone:
            return
        await self._exchange(caller, call, receive, send)

    async def _exchange(self, caller: RunCaller, call: ModelCall, receive: Receive, send: Send) -> None:
        provider = self._routes.provider(call.api, call.model)
        hide = hides_usage(call.api, call.parsed)
        record = CallRecord(
            caller=caller,
            api=call.api,
            call_id=str(uuid4()),
            model=_printable(call.model),
            provider=provider.name,
            scripted=provider.scripted,
            streamed=call.stream,
            traceparent=_traceparent(call.headers),
        )
        exchange = Exchange(
            _with_usage(call) if hide else call,
            provider,
            record,
            send=send,
            max_answer_bytes=self._max_answer,
            hide_usage_chunk=hide,
        )
        try:
            await exchange.run(receive)
        except Exception:
            record.failed("the gateway failed")
            raise
        finally:
            self._ledger.record(record)
            self._measures.ended(record)

    async def list_models(self, api: Api, scope: Scope, send: Send) -> None:
        """`GET /v1/models` or `/v1beta/models`: the provider's own list, or the scripted model's."""
        headers: Headers = tuple(scope["headers"])
        try:
            self._access.caller(headers, scope["query_string"])
        except Refused as refusal:
            await _send_error(send, api, refusal.status, str(refusal))
            return
        await answer_with_list(
            self._routes.provider(api, ""), api, scope=scope, headers=headers, models=self._models, send=send
        )


class Front:
    """ASGI middleware: model calls go to the data plane, everything else to the service's app."""

    def __init__(self, app: Any, *, plane: "PlaneHolder") -> None:
        self._app = app
        self._holder = plane

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection."""
        plane = self._holder.plane
        if scope["type"] == "http" and plane is not None:
            path, method = scope["path"], scope["method"]
            if method == "POST" and (place := address(path, scope["query_string"])) is not None:
                await plane.serve(place, scope, receive, send)
                return
            if method == "GET" and (api := model_list(path, tuple(scope["headers"]))) is not None:
                await plane.list_models(api, scope, send)
                return
        await self._app(scope, receive, send)


class PlaneHolder:
    """Where the app's lifespan puts the data plane once it is ready."""

    plane: DataPlane | None = None


class _Gone(Exception):
    """The caller left before its request was whole."""


async def _read(receive: Receive, limit: int) -> bytes:
    message = await receive()
    body: bytes = message.get("body", b"")
    if not message.get("more_body") and message["type"] == "http.request":
        if len(body) > limit:
            raise Refused(413, f"The request is larger than {limit} bytes.")
        return body
    parts = [body]
    size = len(body)
    while True:
        if message["type"] == "http.disconnect":
            raise _Gone
        if size > limit:
            raise Refused(413, f"The request is larger than {limit} bytes.")
        if not message.get("more_body"):
            return b"".join(parts)
        message = await receive()
        parts.append(message.get("body", b""))
        size += len(parts[-1])


def _call(place: Address, scope: Scope, body: bytes) -> ModelCall:
    try:
        value = from_json(body)
    except ValueError:
        raise Refused(400, "The body is not JSON.") from None
    if not isinstance(value, dict):
        raise Refused(400, "The body is not a JSON object.")
    call = model_call(place, scope, body, mapping(value))
    if not call.model:
        raise Refused(400, "The request names no model.")
    return call


def _with_usage(call: ModelCall) -> ModelCall:
    options = mapping(call.parsed.get("stream_options")) | {"include_usage": True}
    parsed = call.parsed | {"stream_options": options}
    return replace(call, parsed=parsed, body=json.dumps(parsed, ensure_ascii=False).encode())


def _header(headers: Headers, name: bytes) -> str | None:
    return next((value.decode("latin-1") for key, value in headers if key == name), None)


def _traceparent(headers: Headers) -> str | None:
    value = _header(headers, b"traceparent") or ""
    return value if _TRACEPARENT.fullmatch(value) else None


def _printable(model: str) -> str:
    """A model's name as it can be stored; callers may send anything."""
    return "".join(character for character in model[:_MODEL_LENGTH] if character.isprintable())


async def _send_error(send: Send, api: Api, status: int, message: str) -> None:
    body = error_body(api, status, message)
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if status == 401:  # noqa: PLR2004
        headers.append((b"www-authenticate", b'Bearer realm="runyard"'))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})

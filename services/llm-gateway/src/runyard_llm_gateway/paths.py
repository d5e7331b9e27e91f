"""Which API a path belongs to, and the call that a request is."""

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from runyard_llm_gateway.providers.base import Api, Headers, ModelCall

_PATHS: dict[str, Api] = {
    "/v1/responses": "responses",
    "/v1/chat/completions": "chat_completions",
    "/v1/messages": "messages",
    "/v1/messages/count_tokens": "count_tokens",
}
_GEMINI = re.compile(r"/v1(?:beta)?/models/(?P<model>[\w.-]+):(?P<method>\w+)", re.ASCII)
_METHODS: dict[str, Api] = {
    "generateContent": "generate_content",
    "streamGenerateContent": "generate_content",
    "countTokens": "gemini_count_tokens",
}


@dataclass(frozen=True, slots=True)
class Address:
    """What a path says of a call: its API, and for Gemini's the model and whether the answer comes in events."""

    api: Api
    model: str | None = None
    stream: bool = False


def address(path: str, query: bytes) -> Address | None:
    """The address of a model call; None for every other path."""
    if (api := _PATHS.get(path)) is not None:
        return Address(api)
    found = _GEMINI.fullmatch(path)
    if found is None or (api := _METHODS.get(found["method"])) is None:
        return None
    # without `alt=sse` it streams an array, which is of use only when it is whole
    stream = found["method"] == "streamGenerateContent" and ("alt", "sse") in parse_qsl(query.decode("latin-1"))
    return Address(api, found["model"], stream)


def model_list(path: str, headers: Headers) -> Api | None:
    """The API that a list of models is asked for in; three of them have the same path for it. None: another path."""
    if path not in ("/v1/models", "/v1beta/models"):
        return None
    names = {name for name, _ in headers}
    if b"anthropic-version" in names:
        return "messages"
    return "generate_content" if path == "/v1beta/models" or b"x-goog-api-key" in names else "responses"


def model_call(place: Address, scope: Any, body: bytes, parsed: dict[str, Any]) -> ModelCall:
    """The call that a request is. Its model is empty where neither the path nor the body names one."""
    model = parsed.get("model") if place.model is None else place.model
    return ModelCall(
        api=place.api,
        path=scope["path"],
        query=scope.get("query_string", b""),
        headers=tuple(scope["headers"]),
        body=body,
        parsed=parsed,
        model=model if isinstance(model, str) else "",
        stream=place.stream if place.model is not None else parsed.get("stream") is True,
    )

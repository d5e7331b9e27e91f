"""`GET /v1/models`, and Gemini's `GET /v1beta/models`."""

import json
from typing import Any

from runyard_llm_gateway.api_errors import error_body
from runyard_llm_gateway.exchange import Message, Send
from runyard_llm_gateway.providers.base import Api, Headers, ModelCall, Provider, StreamBroken, Unreachable


async def answer_with_list(
    provider: Provider, api: Api, *, scope: Message, headers: Headers, models: tuple[str, ...], send: Send
) -> None:
    """Answers with a real provider's own list, or with the names that the scripted model answers to."""
    if provider.scripted:
        own = json.dumps(scripted_list(api, models)).encode()
        await _answer(send, 200, ((b"content-type", b"application/json"),), own, provider.name)
        return
    call = ModelCall(
        api=api,
        path=scope["path"],
        body=b"",
        parsed={},
        model="",
        query=scope.get("query_string", b""),
        headers=headers,
        method="GET",
    )
    try:
        answer = await provider.send(call)
        body = provider.scrub(b"".join([piece async for piece in answer.body]))
    except (Unreachable, StreamBroken) as error:
        body = error_body(api, 502, f"Runyard's LLM gateway: {error}.")
        await _answer(send, 502, ((b"content-type", b"application/json"),), body, provider.name)
        return
    await _answer(send, answer.status, answer.headers, body, provider.name)


def scripted_list(api: Api, models: tuple[str, ...]) -> dict[str, Any]:
    """The list in the shape of the API that the caller speaks."""
    if api == "messages":
        entries = [
            {"type": "model", "id": name, "display_name": name, "created_at": "2025-01-01T00:00:00Z"} for name in models
        ]
        return {"data": entries, "has_more": False, "first_id": models[0], "last_id": models[-1]}
    if api == "generate_content":
        able = ["generateContent", "countTokens"]
        return {
            "models": [
                {"name": f"models/{name}", "displayName": name, "supportedGenerationMethods": able} for name in models
            ]
        }
    return {
        "object": "list",
        "data": [{"id": name, "object": "model", "created": 0, "owned_by": "runyard"} for name in models],
    }


async def _answer(send: Send, status: int, headers: Headers, body: bytes, provider: str) -> None:
    own = [(b"content-length", str(len(body)).encode()), (b"x-runyard-provider", provider.encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*headers, *own]})
    await send({"type": "http.response.body", "body": body})

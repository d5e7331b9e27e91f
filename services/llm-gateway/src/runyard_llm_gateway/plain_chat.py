"""`POST /chat`: a short question to a model, in the words of either provider's API."""

import json
from dataclasses import dataclass
from typing import Any, Literal

from pydantic_core import from_json

from runyard_llm_gateway.json_values import mapping, objects
from runyard_llm_gateway.providers.base import Api, ModelCall, Provider, StreamBroken, Unreachable
from runyard_llm_gateway.usage import Tokens, tokens_in

ProviderName = Literal["openai", "anthropic"]
_MAX_TOKENS = 4096
_JSON = ((b"content-type", b"application/json"), (b"accept", b"application/json"))


@dataclass(frozen=True, slots=True)
class ChatAnswer:
    """The model's words and what they took. `status` is the provider's."""

    status: int
    text: str
    tokens: Tokens
    error: str | None = None


def api_of(provider: ProviderName) -> Api:
    """The API that a provider is spoken to in."""
    return "messages" if provider == "anthropic" else "chat_completions"


def request(provider: ProviderName, model: str, messages: list[dict[str, str]], max_tokens: int | None) -> ModelCall:
    """The call that asks a provider these messages. Anthropic takes system messages apart."""
    parsed: dict[str, Any]
    if provider == "anthropic":
        system = "\n\n".join(one["content"] for one in messages if one["role"] == "system")
        rest = [one for one in messages if one["role"] != "system"]
        parsed = {"model": model, "max_tokens": max_tokens or _MAX_TOKENS, "messages": rest}
        if system:
            parsed["system"] = system
        path, version = "/v1/messages", ((b"anthropic-version", b"2023-06-01"),)
    else:
        parsed = {"model": model, "messages": messages}
        if max_tokens:
            parsed["max_completion_tokens"] = max_tokens
        path, version = "/v1/chat/completions", ()
    body = json.dumps(parsed, ensure_ascii=False).encode()
    return ModelCall(api=api_of(provider), path=path, body=body, parsed=parsed, model=model, headers=(*_JSON, *version))


async def ask(provider: Provider, call: ModelCall) -> ChatAnswer:
    """Asks and reads the answer.

    Raises:
        Unreachable: no answer, or one that broke off.
    """
    answer = await provider.send(call)
    try:
        body = b"".join([piece async for piece in answer.body])
    except StreamBroken as error:
        raise Unreachable(str(error)) from error
    try:
        parsed = mapping(from_json(body))
    except ValueError:
        raise Unreachable("the provider's answer is not JSON") from None
    if answer.status >= 400:  # noqa: PLR2004
        scrubbed = mapping(from_json(provider.scrub(body)))
        reason = mapping(scrubbed.get("error")).get("message")
        return ChatAnswer(answer.status, "", Tokens(), str(reason or "no reason given")[:500])
    return ChatAnswer(answer.status, text_of(call.api, parsed), tokens_in(call.api, mapping(parsed.get("usage"))))


def text_of(api: Api, answer: dict[str, Any]) -> str:
    """The text of an answer."""
    if api == "messages":
        return "".join(str(block.get("text", "")) for block in objects(answer.get("content")) if "text" in block)
    choices = objects(answer.get("choices"))
    content = mapping(choices[0].get("message")).get("content") if choices else None
    return content if isinstance(content, str) else ""

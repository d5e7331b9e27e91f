"""OpenAI Chat Completions."""

from collections.abc import Iterator
from typing import Any

from runyard_llm_gateway.api_errors import openai_error
from runyard_llm_gateway.json_values import mapping
from runyard_llm_gateway.providers.base import ModelCall
from runyard_llm_gateway.providers.scripted.conversation import Conversation, Offer, Said, digest_of, joined
from runyard_llm_gateway.providers.scripted.frames import (
    BadRequest,
    Frame,
    Snap,
    Wait,
    compact,
    failure_text,
    need_messages,
    paced,
)
from runyard_llm_gateway.providers.scripted.model import (
    Break,
    Call,
    Failure,
    Reply,
    Silence,
    Spent,
    Text,
    Thought,
)


class ChatCompletions:
    """The dialect of `POST /v1/chat/completions`."""

    def read(self, call: ModelCall) -> Conversation:
        """The conversation of a request."""
        body = call.parsed
        said: list[Said] = []
        for message in need_messages(body, "messages"):
            if not isinstance(message, dict):
                raise BadRequest("messages: each must be an object")
            said += _said(message)  # pyright: ignore[reportUnknownArgumentType]
        tools: list[dict[str, Any]] = body.get("tools") or []
        options: dict[str, Any] = body.get("stream_options") or {}
        return Conversation(
            said=tuple(said),
            offers={offer.name: offer for tool in tools if (offer := _offer(tool))},
            model=call.model,
            stream=call.stream,
            digest=digest_of(call.body),
            size=sum(len(entry.text) for entry in said) + len(compact(tools)),
            options={"usage": options.get("include_usage") is True},
        )

    def frames(self, conversation: Conversation, reply: Reply) -> Iterator[Frame]:
        """The chunks of a streamed answer; usage only where `stream_options` asks for it, as the original."""
        wants_usage = bool(conversation.options.get("usage"))

        def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
            choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
            body = _head(conversation, "chat.completion.chunk") | {"choices": [choice]}
            return _data(body | {"usage": None} if wants_usage else body)

        yield chunk({"role": "assistant", "content": ""})
        calls = 0
        for beat in reply.beats:
            match beat:
                case Silence():
                    yield Wait(beat.ms)
                case Break():
                    yield Snap()
                    return
                case Failure():
                    yield _data(openai_error(beat.status, failure_text(beat)))
                    return
                case Call():
                    yield chunk({"tool_calls": [{"index": calls} | _call(beat)]})
                    calls += 1
                case Text() | Thought():
                    key = "content" if isinstance(beat, Text) else "reasoning_content"
                    yield from paced((chunk({key: piece}) for piece in beat.pieces), beat.delay_ms)
        yield chunk({}, _finish(reply))
        if wants_usage:
            head = _head(conversation, "chat.completion.chunk")
            yield _data(head | {"choices": [], "usage": _usage(reply.spent)})
        yield b"data: [DONE]\n\n"

    def whole(self, conversation: Conversation, reply: Reply) -> dict[str, Any]:
        """The completion object."""
        text = "".join("".join(beat.pieces) for beat in reply.beats if isinstance(beat, Text))
        message: dict[str, Any] = {"role": "assistant", "content": text or None, "refusal": None}
        if reply.calls:
            message["tool_calls"] = [_call(call) for call in reply.calls]
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _finish(reply)}
        return _head(conversation, "chat.completion") | {"choices": [choice], "usage": _usage(reply.spent)}

    def error(self, status: int, message: str) -> dict[str, Any]:
        """OpenAI's error shape."""
        return openai_error(status, message)


def _said(message: dict[str, Any]) -> list[Said]:
    role = message.get("role", "user")
    text = joined(message.get("content"))
    if role == "tool":
        return [Said("result", text, str(message.get("tool_call_id", "")))]
    said = [Said("system" if role in ("system", "developer") else role, text)] if text else []
    calls: list[dict[str, Any]] = message.get("tool_calls") or []
    for call in calls:
        function: dict[str, Any] = call.get("function") or {}
        name, arguments = str(function.get("name", "")), str(function.get("arguments", ""))
        said.append(Said("call", arguments, str(call.get("id", "")), name))
    return said


def _offer(tool: dict[str, Any]) -> Offer | None:
    function: dict[str, Any] | None = tool.get("function")
    if not function or "name" not in function:
        return None
    properties = mapping(mapping(function.get("parameters")).get("properties"))
    return Offer(str(function["name"]), properties=tuple(properties))


def _call(beat: Call) -> dict[str, Any]:
    function = {"name": beat.act.offer.name, "arguments": beat.act.arguments}
    return {"id": beat.call_id, "type": "function", "function": function}


def _finish(reply: Reply) -> str:
    return "tool_calls" if reply.calls else "stop"


def _head(conversation: Conversation, kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{conversation.digest[:24]}",
        "object": kind,
        "created": 0,
        "model": conversation.model,
        "service_tier": "default",
        "system_fingerprint": None,
    }


def _usage(spent: Spent) -> dict[str, Any]:
    return {
        "prompt_tokens": spent.input,
        "completion_tokens": spent.output,
        "total_tokens": spent.input + spent.output,
        "prompt_tokens_details": {"cached_tokens": spent.cached},
        "completion_tokens_details": {"reasoning_tokens": spent.reasoning},
    }


def _data(body: dict[str, Any]) -> bytes:
    return f"data: {compact(body)}\n\n".encode()

"""Anthropic Messages, as Claude Code and the official SDK read it."""

from collections.abc import Iterator
from typing import Any

from runyard_llm_gateway.api_errors import anthropic_error
from runyard_llm_gateway.json_values import mapping, objects
from runyard_llm_gateway.providers.base import ModelCall
from runyard_llm_gateway.providers.scripted.conversation import Conversation, Offer, Said, digest_of, joined, tokens
from runyard_llm_gateway.providers.scripted.frames import (
    BadRequest,
    Frame,
    Snap,
    Wait,
    compact,
    event,
    failure_text,
    need_messages,
    paced,
)
from runyard_llm_gateway.providers.scripted.model import (
    Beat,
    Break,
    Call,
    Failure,
    Reply,
    Silence,
    Spent,
    Text,
    Thought,
)

_SIGNATURE = "c2NyaXB0ZWQ="


class Messages:
    """The dialect of `POST /v1/messages`."""

    def read(self, call: ModelCall) -> Conversation:
        """The conversation of a request."""
        body = call.parsed
        messages = need_messages(body, "messages")
        if not isinstance(body.get("max_tokens", 1), int):
            raise BadRequest("'max_tokens' must be an integer")
        said = [Said("system", joined(body.get("system")))]
        for message in messages:
            if not isinstance(message, dict):
                raise BadRequest("messages: each must be an object")
            said += _said(message)  # pyright: ignore[reportUnknownArgumentType]
        tools: list[dict[str, Any]] = body.get("tools") or []
        thinking: dict[str, Any] = body.get("thinking") or {}
        return Conversation(
            said=tuple(said),
            offers={tool["name"]: _offer(tool) for tool in tools if "name" in tool},
            model=call.model,
            stream=call.stream,
            digest=digest_of(call.body),
            size=sum(len(entry.text) for entry in said) + len(compact(tools)),
            thinks=thinking.get("type") in ("enabled", "adaptive"),
        )

    def frames(self, conversation: Conversation, reply: Reply) -> Iterator[Frame]:
        """The events of a streamed answer."""
        message = _message(conversation, reply, [])
        message |= {"stop_reason": None, "usage": _usage(reply.spent) | {"output_tokens": 1}}
        yield event({"type": "message_start", "message": message})
        yield event({"type": "ping"})
        index = 0
        for beat in reply.beats:
            match beat:
                case Silence():
                    yield Wait(beat.ms)
                case Break():
                    yield Snap()
                    return
                case Failure():
                    yield event(anthropic_error(beat.status, failure_text(beat)))
                    return
                case _:
                    yield from _block_events(beat, index)
                    index += 1
        delta = {"stop_reason": _stop(reply), "stop_sequence": None}
        yield event({"type": "message_delta", "delta": delta, "usage": _usage(reply.spent)})
        yield event({"type": "message_stop"})

    def whole(self, conversation: Conversation, reply: Reply) -> dict[str, Any]:
        """The message object."""
        return _message(conversation, reply, [block for beat in reply.beats if (block := _block(beat))])

    def error(self, status: int, message: str) -> dict[str, Any]:
        """Anthropic's error shape."""
        return anthropic_error(status, message)


def count_tokens(call: ModelCall) -> dict[str, int]:
    """The answer of `POST /v1/messages/count_tokens`: the same measure as the usage of an answer."""
    return {"input_tokens": tokens(Messages().read(call).size)}


def _said(message: dict[str, Any]) -> list[Said]:
    role = message.get("role", "user")
    content = message.get("content")
    if not isinstance(content, list):
        return [Said(role, joined(content))]
    entries: list[Said] = []
    texts: list[str] = []
    for block in objects(content):  # pyright: ignore[reportUnknownArgumentType]
        match block.get("type", "text"):
            case "tool_use":
                entries.append(Said("call", compact(block.get("input")), str(block["id"]), str(block["name"])))
            case "tool_result":
                entries.append(Said("result", joined(block.get("content")), str(block["tool_use_id"])))
            case "text":
                texts.append(str(block.get("text", "")))
            case _:
                pass
    said = [Said(role, "\n".join(texts))] if texts else []
    return said + entries if role == "assistant" else entries + said


def _offer(tool: dict[str, Any]) -> Offer:
    properties = mapping(mapping(tool.get("input_schema")).get("properties"))
    return Offer(str(tool["name"]), properties=tuple(properties))


def _block(beat: Beat) -> dict[str, Any] | None:
    match beat:
        case Text():
            return {"type": "text", "text": "".join(beat.pieces)}
        case Thought():
            return {"type": "thinking", "thinking": "".join(beat.pieces), "signature": _SIGNATURE}
        case Call():
            return {
                "type": "tool_use",
                "id": _tool_id(beat),
                "name": beat.act.offer.name,
                "input": beat.act.input,
            }
        case _:
            return None


def _tool_id(call: Call) -> str:
    return "toolu_" + call.call_id.removeprefix("call_")


def _block_events(beat: Text | Thought | Call, index: int) -> Iterator[Frame]:
    start: dict[str, Any]
    deltas: list[dict[str, Any]]
    match beat:
        case Text():
            start = {"type": "text", "text": ""}
            deltas = [{"type": "text_delta", "text": piece} for piece in beat.pieces]
        case Thought():
            start = {"type": "thinking", "thinking": "", "signature": ""}
            deltas = [{"type": "thinking_delta", "thinking": piece} for piece in beat.pieces]
            deltas.append({"type": "signature_delta", "signature": _SIGNATURE})
        case Call():
            start = {"type": "tool_use", "id": _tool_id(beat), "name": beat.act.offer.name, "input": {}}
            deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in ("", beat.act.arguments)]
    delay = 0 if isinstance(beat, Call) else beat.delay_ms
    yield event({"type": "content_block_start", "index": index, "content_block": start})
    changes = ({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas)
    yield from paced(map(event, changes), delay)
    yield event({"type": "content_block_stop", "index": index})


def _stop(reply: Reply) -> str:
    return "tool_use" if reply.calls else "end_turn"


def _usage(spent: Spent) -> dict[str, Any]:
    # Anthropic counts what came from the cache beside the input, not inside it
    return {
        "input_tokens": spent.input - spent.cached,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": spent.cached,
        "output_tokens": spent.output,
    }


def _message(conversation: Conversation, reply: Reply, content: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": f"msg_{conversation.digest[:24]}",
        "type": "message",
        "role": "assistant",
        "model": conversation.model,
        "content": content,
        "stop_reason": _stop(reply),
        "stop_sequence": None,
        "usage": _usage(reply.spent),
    }

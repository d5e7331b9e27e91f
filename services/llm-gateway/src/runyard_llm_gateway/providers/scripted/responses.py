"""OpenAI Responses, as Codex and the official SDK read it."""

import base64
from collections.abc import Iterator
from itertools import count
from typing import Any

from runyard_llm_gateway.api_errors import openai_error
from runyard_llm_gateway.json_values import objects
from runyard_llm_gateway.providers.base import ModelCall
from runyard_llm_gateway.providers.scripted.codex_tools import offers, used
from runyard_llm_gateway.providers.scripted.conversation import Conversation, Said, digest_of, joined
from runyard_llm_gateway.providers.scripted.frames import (
    BadRequest,
    Frame,
    Snap,
    Wait,
    compact,
    event,
)
from runyard_llm_gateway.providers.scripted.model import Break, Call, Failure, Reply, Silence, Text, Thought

_RESULTS = frozenset(
    {"function_call_output", "custom_tool_call_output", "local_shell_call_output", "tool_search_output"}
)
_CALLS = frozenset({"function_call", "custom_tool_call", "tool_search_call"})


class Responses:
    """The dialect of `POST /v1/responses`."""

    def read(self, call: ModelCall) -> Conversation:
        """The conversation of a request; tools are looked for in `tools` and in the items of `input`."""
        body = call.parsed
        given: Any = body.get("input")
        if not isinstance(given, str | list) or not given:
            raise BadRequest("'input' must be a string or a non-empty array")
        entries = [{"role": "user", "content": given}] if isinstance(given, str) else objects(given)
        said = [Said("system", str(body["instructions"]))] if body.get("instructions") else []
        said += [entry for item in entries if (entry := _said(item))]
        offered = offers(objects(body.get("tools")))
        for item in entries:
            offered |= offers(objects(item.get("tools")))
        return Conversation(
            said=tuple(said),
            offers=offered,
            model=call.model,
            stream=call.stream,
            digest=digest_of(call.body),
            size=sum(len(entry.text) for entry in said) + len(compact(body.get("tools") or [])),
            options={"encrypted": "reasoning.encrypted_content" in (body.get("include") or [])},
        )

    def frames(self, conversation: Conversation, reply: Reply) -> Iterator[Frame]:
        """The events of a streamed answer."""
        numbers = count()
        for frame in self._events(conversation, reply):
            if isinstance(frame, dict):
                yield event(frame | {"sequence_number": next(numbers)})
            else:
                yield frame

    def whole(self, conversation: Conversation, reply: Reply) -> dict[str, Any]:
        """The response object."""
        return _response(conversation, reply, "completed", _items(conversation, reply))

    def error(self, status: int, message: str) -> dict[str, Any]:
        """OpenAI's error shape."""
        return openai_error(status, message)

    def _events(self, conversation: Conversation, reply: Reply) -> Iterator[dict[str, Any] | Wait | Snap]:
        started = _response(conversation, reply, "in_progress", [])
        yield {"type": "response.created", "response": started}
        yield {"type": "response.in_progress", "response": started}
        items = iter(_items(conversation, reply))
        index = count()
        for beat in reply.beats:
            match beat:
                case Silence():
                    yield Wait(beat.ms)
                case Break():
                    yield Snap()
                    return
                case Failure():
                    error = {"code": "server_error", "message": f"{beat.message} ({beat.status})"}
                    failed = _response(conversation, reply, "failed", []) | {"error": error}
                    yield {"type": "response.failed", "response": failed}
                    return
                case _:
                    yield from _item_events(beat, next(items), next(index))
        done = _response(conversation, reply, "completed", _items(conversation, reply))
        yield {"type": "response.completed", "response": done}


def _said(item: dict[str, Any]) -> Said | None:
    kind = item.get("type", "message")
    if kind == "message":
        role = item.get("role", "user")
        return Said("system" if role in ("system", "developer") else role, joined(item.get("content")))
    if kind in _CALLS:
        text = str(item.get("arguments", item.get("input", "")))
        name = used(str(item.get("name") or kind.removesuffix("_call")), text)
        return Said("call", text, str(item.get("call_id", "")), name)
    if kind in _RESULTS:
        return Said("result", joined(item.get("output")), str(item.get("call_id", "")))
    return None


def _items(conversation: Conversation, reply: Reply) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    phase = "commentary" if reply.calls else "final_answer"
    for beat in reply.beats:
        name = f"{conversation.digest[20:40]}{len(items):04d}"
        match beat:
            case Text():
                content: dict[str, Any] = {
                    "type": "output_text",
                    "text": "".join(beat.pieces),
                    "annotations": [],
                    "logprobs": [],
                }
                items.append(
                    {
                        "id": f"msg_{name}",
                        "type": "message",
                        "status": "completed",
                        "role": "assistant",
                        "phase": phase,
                        "content": [content],
                    }
                )
            case Thought():
                items.append(_reasoning(f"rs_{name}", beat, encrypted=conversation.options.get("encrypted", False)))
            case Call():
                items.append(_call(f"fc_{name}", beat))
            case _:
                pass
    return items


def _reasoning(identifier: str, beat: Thought, *, encrypted: bool) -> dict[str, Any]:
    text = "".join(beat.pieces)
    item: dict[str, Any] = {
        "id": identifier,
        "type": "reasoning",
        "summary": [{"type": "summary_text", "text": text}],
        "status": "completed",
    }
    if beat.raw:
        item["content"] = [{"type": "reasoning_text", "text": text}]
    if encrypted:
        item["encrypted_content"] = base64.b64encode(text.encode()).decode()
    return item


def _call(identifier: str, beat: Call) -> dict[str, Any]:
    offer = beat.act.offer
    shared = {"id": identifier, "status": "completed", "call_id": beat.call_id, "name": offer.name}
    if offer.kind == "tool_search":
        search = {"type": "tool_search_call", "execution": "client", "arguments": beat.act.input}
        return {"id": identifier, "status": "completed", "call_id": beat.call_id} | search
    if offer.kind == "custom":
        custom = shared | {"type": "custom_tool_call", "input": beat.act.arguments}
        return custom | {"namespace": offer.namespace} if offer.namespace else custom
    item = shared | {"type": "function_call", "arguments": beat.act.arguments}
    return item | {"namespace": offer.namespace} if offer.namespace else item


def _item_events(beat: Text | Thought | Call, item: dict[str, Any], index: int) -> Iterator[Any]:
    place = {"item_id": item["id"], "output_index": index}
    match beat:
        case Text():
            part = item["content"][0]
            spot = place | {"content_index": 0}
            yield _added(item, index, content=[])
            yield {"type": "response.content_part.added", "part": part | {"text": ""}} | spot
            yield from _deltas("response.output_text", beat.pieces, beat.delay_ms, spot | {"logprobs": []})
            yield {"type": "response.content_part.done", "part": part} | spot
        case Thought():
            part = item["summary"][0]
            spot = place | {"summary_index": 0}
            yield _added(item, index, summary=[])
            yield {"type": "response.reasoning_summary_part.added", "part": part | {"text": ""}} | spot
            yield from _deltas("response.reasoning_summary_text", beat.pieces, beat.delay_ms, spot)
            yield {"type": "response.reasoning_summary_part.done", "part": part} | spot
            if beat.raw:
                spot = place | {"content_index": 0}
                yield from _deltas("response.reasoning_text", beat.pieces, beat.delay_ms, spot)
        case Call() if beat.act.offer.kind == "tool_search":
            yield _added(item, index)
        case Call():
            custom = beat.act.offer.kind == "custom"
            kind = "response.custom_tool_call_input" if custom else "response.function_call_arguments"
            key = "input" if custom else "arguments"
            yield _added(item, index, **{key: ""})
            yield {"type": f"{kind}.delta", "delta": beat.act.arguments} | place
            yield {"type": f"{kind}.done", key: beat.act.arguments, "name": item["name"]} | place
    yield {"type": "response.output_item.done", "output_index": index, "item": item}


def _added(item: dict[str, Any], index: int, **empty: Any) -> dict[str, Any]:
    started = item | {"status": "in_progress"} | empty
    return {"type": "response.output_item.added", "output_index": index, "item": started}


def _deltas(kind: str, pieces: tuple[str, ...], delay_ms: float, spot: dict[str, Any]) -> Iterator[Any]:
    for piece in pieces:
        if delay_ms:
            yield Wait(delay_ms)
        yield {"type": f"{kind}.delta", "delta": piece} | spot
    yield {"type": f"{kind}.done", "text": "".join(pieces)} | spot


def _response(conversation: Conversation, reply: Reply, status: str, output: list[dict[str, Any]]) -> dict[str, Any]:
    spent = reply.spent
    usage = {
        "input_tokens": spent.input,
        "input_tokens_details": {"cached_tokens": spent.cached},
        "output_tokens": spent.output,
        "output_tokens_details": {"reasoning_tokens": spent.reasoning},
        "total_tokens": spent.input + spent.output,
    }
    return {
        "id": f"resp_{conversation.digest[:24]}",
        "object": "response",
        "created_at": 0,
        "status": status,
        "model": conversation.model,
        "output": output,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "parallel_tool_calls": True,
        "temperature": None,
        "tool_choice": "auto",
        "tools": [],
        "top_p": None,
        "usage": usage if status == "completed" else None,
    }

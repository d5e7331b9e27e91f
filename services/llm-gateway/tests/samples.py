"""Answers as the four real APIs send them (shortened)."""

import json
from typing import Any


def sse(*events: dict[str, Any], named: bool = True) -> list[bytes]:
    """Server-sent events, one chunk each."""
    return [
        (f"event: {event['type']}\n" if named else "").encode() + f"data: {json.dumps(event)}\n\n".encode()
        for event in events
    ]


RESPONSES_USAGE = {
    "input_tokens": 1200,
    "input_tokens_details": {"cached_tokens": 1000},
    "output_tokens": 90,
    "output_tokens_details": {"reasoning_tokens": 40},
    "total_tokens": 1290,
}
_MESSAGE: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "status": "completed",
    "role": "assistant",
    "content": [{"type": "output_text", "text": 'Hello "usage": { é', "annotations": []}],
}
RESPONSE: dict[str, Any] = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1,
    "status": "completed",
    "model": "gpt-5",
    "output": [_MESSAGE],
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [],
    "usage": RESPONSES_USAGE,
}
RESPONSES_STREAM = sse(
    {
        "type": "response.created",
        "sequence_number": 0,
        "response": RESPONSE | {"output": [], "usage": None, "status": "in_progress"},
    },
    {
        "type": "response.output_item.added",
        "sequence_number": 1,
        "output_index": 0,
        "item": _MESSAGE | {"content": [], "status": "in_progress"},
    },
    {
        "type": "response.output_text.delta",
        "sequence_number": 2,
        "item_id": "msg_1",
        "output_index": 0,
        "content_index": 0,
        "delta": 'Hello "usage": { é',
        "logprobs": [],
    },
    {"type": "response.output_item.done", "sequence_number": 3, "output_index": 0, "item": _MESSAGE},
    {"type": "response.completed", "sequence_number": 4, "response": RESPONSE},
)

MESSAGE: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-5-5",
    "content": [{"type": "text", "text": "Hello"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {
        "input_tokens": 100,
        "cache_read_input_tokens": 800,
        "cache_creation_input_tokens": 50,
        "output_tokens": 30,
    },
}
MESSAGES_STREAM = sse(
    {
        "type": "message_start",
        "message": MESSAGE | {"content": [], "stop_reason": None, "usage": MESSAGE["usage"] | {"output_tokens": 1}},
    },
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "ping"},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello"}},
    {"type": "content_block_stop", "index": 0},
    {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn", "stop_sequence": None},
        "usage": {"output_tokens": 30},
    },
    {"type": "message_stop"},
)

_HEAD: dict[str, Any] = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o"}
CHAT_USAGE = {
    "prompt_tokens": 70,
    "completion_tokens": 7,
    "total_tokens": 77,
    "prompt_tokens_details": {"cached_tokens": 64},
    "completion_tokens_details": {"reasoning_tokens": 3},
}
CHAT: dict[str, Any] = {
    "id": "c1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4o",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}],
    "usage": CHAT_USAGE,
}


def _chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    return _HEAD | {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}], "usage": None}


CHAT_STREAM = [
    *sse(
        _chunk({"role": "assistant", "content": ""}),
        _chunk({"content": "Hel"}),
        _chunk({"content": "lo"}),
        _chunk({}, "stop"),
        named=False,
    ),
    *sse(_HEAD | {"choices": [], "usage": CHAT_USAGE}, named=False),
    b"data: [DONE]\n\n",
]
USAGE_CHUNK = CHAT_STREAM[-2]


def _content(part: dict[str, Any], usage: dict[str, int], finish: str | None = None) -> dict[str, Any]:
    candidate = {"content": {"parts": [part], "role": "model"}, **({"finishReason": finish} if finish else {})}
    return {
        "candidates": [candidate | {"index": 0}],
        "usageMetadata": {"promptTokenCount": 1000, **usage, "promptTokensDetails": [{"modality": "TEXT"}]},
        "modelVersion": "gemini-2.5-pro",
        "responseId": "r1",
    }


_COUNTS = {"cachedContentTokenCount": 600, "thoughtsTokenCount": 40, "candidatesTokenCount": 20}
CONTENT = _content({"text": 'Hello "usageMetadata": { é'}, _COUNTS, "STOP")
CONTENT_STREAM = [
    f"data: {json.dumps(event)}\r\n\r\n".encode()
    for event in (
        _content({"text": "Let me see.", "thought": True}, {"thoughtsTokenCount": 40}),
        _content({"text": "Hel"}, {"thoughtsTokenCount": 40, "candidatesTokenCount": 3}),
        _content({"functionCall": {"name": "ls", "args": {}}, "thoughtSignature": "c2ln"}, _COUNTS),
        _content({"text": ""}, _COUNTS, "STOP"),
    )
]

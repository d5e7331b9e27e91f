"""The scripted model as a provider in this process: no loopback hop, the same bytes as over HTTP."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from typing import Any

from runyard_llm_gateway.providers.base import Answer, Headers, ModelCall, StreamBroken
from runyard_llm_gateway.providers.scripted import gemini, messages
from runyard_llm_gateway.providers.scripted.chat import ChatCompletions
from runyard_llm_gateway.providers.scripted.frames import BadRequest, Dialect, Frame, Snap, Wait, compact
from runyard_llm_gateway.providers.scripted.gemini import GenerateContent
from runyard_llm_gateway.providers.scripted.messages import Messages
from runyard_llm_gateway.providers.scripted.model import Break, Reply, Silence, Text, Thought, reply_to
from runyard_llm_gateway.providers.scripted.responses import Responses

_JSON: Headers = ((b"content-type", b"application/json"),)
_SSE: Headers = ((b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache"))
_CHUNK = 64 * 1024
_DIALECTS: dict[str, Dialect] = {
    "responses": Responses(),
    "chat_completions": ChatCompletions(),
    "messages": Messages(),
    "count_tokens": Messages(),
    "generate_content": GenerateContent(),
    "gemini_count_tokens": GenerateContent(),
}
_COUNTS = {"count_tokens": messages.count_tokens, "gemini_count_tokens": gemini.count_tokens}


class ScriptedProvider:
    """Answers every call by the script in it, or as the honest offline model."""

    name = "scripted"
    scripted = True

    async def send(self, call: ModelCall) -> Answer:
        """The answer to a call; never unreachable, but it hangs or breaks when its script says so."""
        dialect = _DIALECTS[call.api]
        try:
            if (count := _COUNTS.get(call.api)) is not None:
                return _json(200, count(call))
            conversation = dialect.read(call)
        except (BadRequest, KeyError, TypeError, AttributeError) as error:
            reason = str(error) if isinstance(error, BadRequest) else "the request does not follow the API"
            return _json(400, dialect.error(400, reason))
        reply = reply_to(conversation, time.time())
        if reply.lead_ms:
            await asyncio.sleep(reply.lead_ms / 1000)
        if (failure := reply.failure) is not None:
            again = (b"retry-after", str(failure.retry_after).encode()) if failure.retry_after is not None else None
            return _json(failure.status, dialect.error(failure.status, failure.message), again)
        if conversation.stream:
            return Answer(200, _SSE, stream(dialect.frames(conversation, reply)))
        await asyncio.sleep(_duration(reply))
        if any(isinstance(beat, Break) for beat in reply.beats):
            return Answer(200, _JSON, _broken())
        return _json(200, dialect.whole(conversation, reply))

    def scrub(self, body: bytes) -> bytes:
        """There is no key to scrub."""
        return body


async def stream(frames: Iterable[Frame]) -> AsyncIterator[bytes]:
    """Frames as they fall due; those without a pause between them leave together."""
    gathered: list[bytes] = []
    size = 0
    for frame in frames:
        if isinstance(frame, bytes):
            gathered.append(frame)
            size += len(frame)
            if size < _CHUNK:
                continue
        if gathered:
            yield b"".join(gathered)
            gathered, size = [], 0
        if isinstance(frame, Wait):
            await asyncio.sleep(frame.ms / 1000)
        elif isinstance(frame, Snap):
            raise StreamBroken("the scripted answer breaks off here")
    if gathered:
        yield b"".join(gathered)


def _duration(reply: Reply) -> float:
    total = 0.0
    for beat in reply.beats:
        match beat:
            case Silence():
                total += beat.ms
            case Text() | Thought():
                total += beat.delay_ms * len(beat.pieces)
            case _:
                pass
    return total / 1000


def _json(status: int, body: dict[str, Any] | list[dict[str, Any]], extra: tuple[bytes, bytes] | None = None) -> Answer:
    return Answer(status, (*_JSON, extra) if extra else _JSON, _once(compact(body).encode()))


async def _once(body: bytes) -> AsyncIterator[bytes]:
    yield body


async def _broken() -> AsyncIterator[bytes]:
    yield b'{"object":'
    raise StreamBroken("the scripted answer breaks off here")

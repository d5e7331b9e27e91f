"""Token counts out of answers, and what a stream has told by the time it ends."""

import re
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json

from runyard_llm_gateway.json_values import mapping, number, objects
from runyard_llm_gateway.providers.base import Api

_USAGE = re.compile(rb'"usage(?:Metadata)?"\s*:\s*\{')
_TAIL = 4096
"""How much of a stream's end is kept to see how it ended; an event longer than this is kept whole."""
_OUTPUT = re.compile(rb"delta")
_PARTS = re.compile(rb'"parts"')
_BLANK = re.compile(rb"\r?\n\r?\n")
_LAST: dict[str, re.Pattern[bytes]] = {
    "responses": re.compile(rb'"type"\s*:\s*"(?:response\.(?:completed|failed|incomplete)|error)"'),
    "messages": re.compile(rb'"type"\s*:\s*"(?:message_stop|error)"'),
    "chat_completions": re.compile(rb'data:\s*\[DONE\]|"finish_reason"\s*:\s*"|data:\s*\{\s*"error"'),
    "generate_content": re.compile(rb'"(?:finishReason|blockReason)"\s*:\s*"|data:\s*\{\s*"error"'),
}
_FAILED: dict[str, re.Pattern[bytes]] = {
    "responses": re.compile(rb'"type"\s*:\s*"(?:response\.failed|error)"'),
    "messages": re.compile(rb'"type"\s*:\s*"error"'),
    "chat_completions": re.compile(rb'data:\s*\{\s*"error"'),
    "generate_content": re.compile(rb'data:\s*\{\s*"error"'),
}


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a call used, as its provider says. `input` includes what was read from and written to the cache."""

    input: int | None = None
    output: int | None = None
    cached: int | None = None
    cache_write: int | None = None
    reasoning: int | None = None


def tokens_in(api: str, usage: dict[str, Any], before: Tokens = Tokens()) -> Tokens:
    """The counts of a `usage` object; `before` is what an earlier one of the same stream said."""
    if api == "messages":
        return _anthropic(usage, before)
    if api == "generate_content":
        return _gemini(usage, before)
    if api == "responses":
        inputs, outputs = mapping(usage.get("input_tokens_details")), mapping(usage.get("output_tokens_details"))
        read, written = number(usage.get("input_tokens")), number(usage.get("output_tokens"))
    else:
        inputs, outputs = mapping(usage.get("prompt_tokens_details")), mapping(usage.get("completion_tokens_details"))
        read, written = number(usage.get("prompt_tokens")), number(usage.get("completion_tokens"))
    return Tokens(
        input=read,
        output=written,
        cached=number(inputs.get("cached_tokens")),
        cache_write=number(inputs.get("cache_write_tokens")),
        reasoning=number(outputs.get("reasoning_tokens")),
    )


def _anthropic(usage: dict[str, Any], before: Tokens) -> Tokens:
    """Anthropic counts cached input beside `input_tokens`, and repeats only what has changed."""
    cached = _either(usage.get("cache_read_input_tokens"), before.cached)
    cache_write = _either(usage.get("cache_creation_input_tokens"), before.cache_write)
    fresh = number(usage.get("input_tokens"))
    read = before.input if fresh is None else fresh + (cached or 0) + (cache_write or 0)
    thinking = number(mapping(usage.get("output_tokens_details")).get("thinking_tokens"))
    written = _either(usage.get("output_tokens"), before.output)
    return Tokens(read, written, cached, cache_write, _either(thinking, before.reasoning))


def _gemini(usage: dict[str, Any], before: Tokens) -> Tokens:
    """Gemini counts thoughts beside the answer and results of its own tools beside the prompt, in every event anew."""
    read, tools = number(usage.get("promptTokenCount")), number(usage.get("toolUsePromptTokenCount"))
    written, thoughts = number(usage.get("candidatesTokenCount")), number(usage.get("thoughtsTokenCount"))
    return Tokens(
        input=before.input if read is None else read + (tools or 0),
        output=before.output if written is None and thoughts is None else (written or 0) + (thoughts or 0),
        cached=_either(usage.get("cachedContentTokenCount"), before.cached),
        reasoning=_either(thoughts, before.reasoning),
    )


def _either(now: Any, before: int | None) -> int | None:
    value = number(now)
    return before if value is None else value


def tokens_of_body(api: Api, body: bytes) -> Tokens:
    """The counts in an answer that came in one piece; nothing known when it is not JSON."""
    try:
        answer = from_json(body)
    except ValueError:
        return Tokens()
    if api in ("count_tokens", "gemini_count_tokens"):
        return Tokens()
    if api == "generate_content":
        parts = objects(answer) or [mapping(answer)]  # an array where a stream was asked for without `alt=sse`
        return tokens_in(api, mapping(parts[-1].get("usageMetadata")))
    return tokens_in(api, mapping(mapping(answer).get("usage")))


class StreamTap:
    """Looks at a stream that passes by: whole events only, JSON read only where there is a usage.

    `feed` gives back the bytes that may go on: everything up to the end of the last whole event. What is
    behind it is kept until its end arrives, so that a stream that breaks never leaves half an event.
    """

    def __init__(self, api: Api, *, hide_usage_chunk: bool = False) -> None:
        self._api = api
        self._hide = hide_usage_chunk
        self._output = _PARTS if api == "generate_content" else _OUTPUT
        self._rest = b""
        self._tail = b""
        self.tokens = Tokens()
        self.has_output = False
        """Whether something of the answer itself has come, not only its beginning."""

    def feed(self, chunk: bytes) -> bytes:
        """The bytes that may be passed on now."""
        data = self._rest + chunk if self._rest else chunk
        end = _end_of_events(data)
        if end != len(data):
            data, self._rest = data[:end], data[end:]
            if not data:
                return b""
        else:
            self._rest = b""
        if not self.has_output and self._output.search(data):
            self.has_output = True
        self._tail = data if len(data) >= _TAIL else (self._tail + data)[-2 * _TAIL :]
        return self._read(data) if _USAGE.search(data) else data

    def rest(self) -> bytes:
        """What came behind the last whole event; empty unless the stream ends in the middle of one."""
        return self._rest

    @property
    def complete(self) -> bool:
        """Whether the API's last event has been seen."""
        return _LAST[self._api].search(self._tail) is not None

    @property
    def failed(self) -> bool:
        """Whether the provider itself ended the stream with an error."""
        return _FAILED[self._api].search(self._tail) is not None

    def _read(self, data: bytes) -> bytes:
        kept: list[bytes] = []
        start = 0
        for blank in _BLANK.finditer(data):
            event = data[start : blank.end()]
            start = blank.end()
            if _USAGE.search(event) and self._take(event) and self._hide:
                continue
            kept.append(event)
        return b"".join(kept) if self._hide else data

    def _take(self, event: bytes) -> bool:
        """Reads the usage of one event; true for a chunk that carries nothing else (Chat Completions)."""
        payload = b"".join(line[5:] for line in event.splitlines() if line.startswith(b"data:"))
        try:
            data = mapping(from_json(payload))
        except ValueError:
            return False
        inner = mapping(data.get("response" if self._api == "responses" else "message"))
        usage = mapping(inner.get("usage")) or mapping(data.get("usage") or data.get("usageMetadata"))
        if usage:
            self.tokens = tokens_in(self._api, usage, self.tokens)
        return data.get("choices") == []


def _end_of_events(data: bytes) -> int:
    if data.endswith((b"\n\n", b"\r\n\r\n")):
        return len(data)
    plain, carriage = data.rfind(b"\n\n"), data.rfind(b"\r\n\r\n")
    return max(plain + 2 if plain >= 0 else 0, carriage + 4 if carriage >= 0 else 0)

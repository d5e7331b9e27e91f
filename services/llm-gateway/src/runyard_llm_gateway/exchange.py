"""One model call: to the provider, its answer back as it is, and what it came to."""

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from runyard_llm_gateway.api_errors import error_body, error_event
from runyard_llm_gateway.domain import CallRecord
from runyard_llm_gateway.providers.base import Answer, Api, Headers, ModelCall, Provider, StreamBroken, Unreachable
from runyard_llm_gateway.usage import StreamTap, tokens_of_body

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_SUCCESS = 300


class Exchange:
    """Passes one call through. Whatever happens, `record` says afterwards how it ended."""

    def __init__(
        self,
        call: ModelCall,
        provider: Provider,
        record: CallRecord,
        *,
        send: Send,
        max_answer_bytes: int,
        hide_usage_chunk: bool = False,
    ) -> None:
        self._call = call
        self._provider = provider
        self._record = record
        self._send = send
        self._limit = max_answer_bytes
        self._hide = hide_usage_chunk
        self._began = time.perf_counter()
        self._over = False

    async def run(self, receive: Receive) -> None:
        """Answers the caller. A caller that goes away ends the provider's answer too."""
        task = asyncio.current_task()
        gone = False

        async def watch() -> None:
            nonlocal gone
            while (await receive())["type"] != "http.disconnect":
                pass
            if not self._over and task is not None:
                gone = True
                task.cancel()

        watcher = asyncio.create_task(watch())
        try:
            await self._answer()
        except asyncio.CancelledError:
            self._record.status = "aborted"
            self._record.error = "the caller went away" if gone else "the gateway stopped"
            if not gone or task is None:
                raise
            task.uncancel()
        finally:
            self._over = True
            watcher.cancel()
            self._record.latency_ms = self._elapsed_ms()

    async def _answer(self) -> None:
        try:
            answer = await self._provider.send(self._call)
        except Unreachable as error:
            self._record.failed(str(error))
            await self._refuse(error.status, f"Runyard's LLM gateway: {error}.")
            return
        self._record.answered(answer.status)
        try:
            if answer.is_stream:
                await self._stream(answer)
            else:
                await self._whole(answer)
        finally:
            await answer.aclose()

    async def _stream(self, answer: Answer) -> None:
        """A stream as it comes. It begins with its first bytes, so that one without any is an HTTP error."""
        tap = StreamTap(self._call.api, hide_usage_chunk=self._hide)
        begun = False
        broken: str | None = None
        try:
            async for piece in answer.body:
                if not begun:
                    await self._start(answer.status, answer.headers)
                    begun = True
                if data := tap.feed(piece):
                    if tap.has_output and self._record.first_token_ms is None:
                        self._record.first_token_ms = self._elapsed_ms()
                    await self._body(data, more=True)
        except StreamBroken as error:
            broken = str(error)
        finally:
            self._record.tokens = tap.tokens
        if broken is None and not tap.complete:
            broken = "the provider's stream ended before its end"
        if broken is not None:
            await self._break_off(broken, begun=begun)
            return
        if tap.failed:
            self._record.failed("the provider reported an error in its stream")
        await self._body(tap.rest(), more=False)

    async def _break_off(self, reason: str, *, begun: bool) -> None:
        self._record.failed(reason)
        message = f"Runyard's LLM gateway: {reason}."
        if not begun:
            await self._refuse(502, message)
            return
        # Half an event may be held back; it is dropped, so the reader meets the error and not broken JSON.
        await self._body(error_event(self._call.api, message), more=False)

    async def _whole(self, answer: Answer) -> None:
        """An answer in one piece; held until it is whole, because half of it is of no use to anybody."""
        parts: list[bytes] = []
        size = 0
        try:
            async for piece in answer.body:
                parts.append(piece)
                size += len(piece)
                if size > self._limit:
                    raise StreamBroken("the provider's answer is too large")  # noqa: TRY301
        except StreamBroken as error:
            self._record.failed(str(error))
            await self._refuse(502, f"Runyard's LLM gateway: {error}.")
            return
        body = b"".join(parts)
        if answer.status < _SUCCESS:
            self._record.tokens = tokens_of_body(self._call.api, body)
        else:
            body = self._provider.scrub(body)
        length = (b"content-length", str(len(body)).encode())
        await self._start(answer.status, (*answer.headers, length))
        await self._body(body, more=False)

    async def _refuse(self, status: int, message: str) -> None:
        body = error_body(self._call.api, status, message)
        self._record.http_status = status
        length = (b"content-length", str(len(body)).encode())
        await self._start(status, ((b"content-type", b"application/json"), length))
        await self._body(body, more=False)

    async def _start(self, status: int, headers: Headers) -> None:
        own = (
            (b"x-runyard-provider", self._record.provider.encode()),
            (b"x-runyard-call-id", self._record.call_id.encode()),
        )
        await self._send({"type": "http.response.start", "status": status, "headers": [*headers, *own]})

    async def _body(self, data: bytes, *, more: bool) -> None:
        if not more:
            self._over = True
        await self._send({"type": "http.response.body", "body": data, "more_body": more})

    def _elapsed_ms(self) -> float:
        return (time.perf_counter() - self._began) * 1000


def hides_usage(api: Api, parsed: dict[str, Any]) -> bool:
    """Whether a Chat Completions stream was asked for without its usage.

    Then it has to be asked for all the same (a stream that is not counted is billed at nothing), and the
    chunk that carries it is taken out again.
    """
    if api != "chat_completions" or parsed.get("stream") is not True:
        return False
    options = parsed.get("stream_options")
    return not (isinstance(options, dict) and options.get("include_usage") is True)  # pyright: ignore[reportUnknownMemberType]

"""A running turn of Codex."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import structlog

from runyard_events.catalogue import Payload
from runyard_runner.adapter import AgentFailed, Decision, Direction, Native
from runyard_runner.json_rpc import ENDED, RpcError
from runyard_runner_codex.adapters.app_server import AppServer
from runyard_runner_codex.asks import ask_of, response_to
from runyard_runner_codex.translate import Translator

logger = structlog.get_logger(__name__)

INTERRUPT_SECONDS = 1.0


class CodexTurn:
    """Reads what the process says until the turn has ended; `release` gives the process back."""

    def __init__(
        self,
        server: AppServer,
        *,
        thread: str,
        turn: str,
        cwd: str,
        first: tuple[Native, ...],
        release: Callable[[bool], Awaitable[None]],
    ) -> None:
        self._server = server
        self._thread = thread
        self._turn = turn
        self._first = first
        self._release = release
        self._translator = Translator(thread, cwd)
        self._asked: dict[str, Mapping[str, Any]] = {}
        self._closed = False

    @property
    def process_group(self) -> int | None:
        return self._server.child.pid

    async def __aiter__(self) -> AsyncIterator[Native]:
        yield Native(raw=None, thread=self._thread)
        for native in self._first:
            yield native
        async for direction, message in self._server.messages():
            native = await self._native(direction, message)
            if native.end is not None and self._translator.running:
                # Commands outlive their turn; here everything of a run ends with the run.
                await self._clean()
            yield native
            if native.end is not None:
                return
        raise AgentFailed(ENDED)

    async def answer(self, key: str, decision: Decision) -> None:
        request = self._asked.pop(key, None)
        if request is not None:
            await self._server.respond(request["id"], response_to(request, decision))

    async def steer(self, text: str) -> bool:
        words = {"threadId": self._thread, "expectedTurnId": self._turn, "input": [{"type": "text", "text": text}]}
        try:
            await self._server.request("turn/steer", words)
        except RpcError:
            return False
        return True

    async def interrupt(self) -> None:
        wanted = {"threadId": self._thread, "turnId": self._turn}
        with contextlib.suppress(RpcError, AgentFailed):
            await self._server.request("turn/interrupt", wanted, limit=INTERRUPT_SECONDS)
        await self._clean()

    async def close(self, *, kill: bool = False) -> None:
        if not self._closed:
            self._closed = True
            await asyncio.shield(asyncio.ensure_future(self._release(kill)))

    async def _clean(self) -> None:
        with contextlib.suppress(RpcError, AgentFailed):
            await self._server.request(
                "thread/backgroundTerminals/clean", {"threadId": self._thread}, limit=INTERRUPT_SECONDS
            )

    async def _native(self, direction: Direction, message: Mapping[str, Any]) -> Native:
        if direction == "sent" or "method" not in message or self._stale(message):
            return Native(raw=message, direction=direction)
        if "id" in message:
            return await self._request(message)
        return Native(
            raw=message,
            neutral=self._neutral(message),
            end=self._translator.end(message),
            answered=self._withdrawn(message),
        )

    async def _request(self, message: Mapping[str, Any]) -> Native:
        ask = ask_of(message, self._translator)
        if ask is None:
            await self._server.refuse(message["id"])
            return Native(raw=message)
        self._asked[ask.key] = message
        return Native(raw=message, ask=ask)

    def _neutral(self, message: Mapping[str, Any]) -> tuple[Payload, ...]:
        try:
            return self._translator.neutral(message)
        except (KeyError, TypeError, ValueError):
            # Another version of Codex: the raw line is in the log, the run goes on.
            logger.warning("codex.untranslated", method=message.get("method"), exc_info=True)
            return ()

    def _stale(self, message: Mapping[str, Any]) -> bool:
        """It tells of an earlier turn: the late end of an interrupted command."""
        params: Mapping[str, Any] = message.get("params") or {}
        about: Mapping[str, Any] = params.get("turn") or {}
        turn = params.get("turnId") or about.get("id")
        return params.get("threadId") == self._thread and turn not in (None, self._turn)

    def _withdrawn(self, message: Mapping[str, Any]) -> str | None:
        if message.get("method") != "serverRequest/resolved":
            return None
        key = str(message["params"]["requestId"])
        return key if self._asked.pop(key, None) is not None else None

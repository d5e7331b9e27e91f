"""A running turn of an agent: installed if need be, started, opened, prompted, listened to."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import structlog

from runyard_events.catalogue import Notice, Payload
from runyard_runner.adapter import AgentFailed, AgentStart, Decision, Direction, Native, TurnEnd
from runyard_runner.json_rpc import ENDED, JsonRpc, Message, RpcError
from runyard_runner_acp.acp import PROMPT
from runyard_runner_acp.adapters.talk import TOLD, Dialect, Talk

logger = structlog.get_logger(__name__)

Preparing = Callable[[], AsyncIterator[str]]
Booting = Callable[[AgentStart], Awaitable[JsonRpc]]


class AcpTurn:
    """One process for one turn. `prepare` says what it is doing, `release` forgets the run's token."""

    def __init__(
        self,
        start: AgentStart,
        dialect: Dialect,
        *,
        prepare: Preparing,
        boot: Booting,
        release: Callable[[AgentStart], None],
    ) -> None:
        self._start = start
        self._dialect = dialect
        self._prepare = prepare
        self._boot = boot
        self._release = release
        self._translator = dialect.translator(str(start.cwd))
        self._talk: Talk | None = None
        self._prompted = False
        self._stopped = False
        self._asked: dict[str, Message] = {}

    @property
    def process_group(self) -> int | None:
        return self._talk.peer.child.pid if self._talk else None

    async def __aiter__(self) -> AsyncIterator[Native]:
        async for words in self._prepare():
            yield Native(raw=None, neutral=(Notice(level="info", message=words),))
        talk = self._talk = Talk(await self._boot(self._start))
        try:
            async for native in self._dialect.open(talk, self._start):
                yield native
        except RpcError as error:
            raise AgentFailed(str(error), reason="start_failed") from error
        yield Native(raw=None, thread=talk.thread)
        if self._stopped:
            yield Native(raw=None, end=TurnEnd(status="interrupted"))
            return
        await self._dialect.prompt(talk, (TOLD if talk.lost else "") + self._start.prompt)
        self._prompted = True
        async for direction, message in talk.record:
            async for native in self._natives(talk, direction, message):
                yield native
                if native.end is not None:
                    return
        raise AgentFailed(ENDED)

    async def answer(self, key: str, decision: Decision) -> None:
        message = self._asked.pop(key, None)
        if message is not None and self._talk is not None:
            await self._talk.peer.respond(message["id"], self._translator.response(message, decision))
            if decision.kind == "cancel":
                await self.interrupt()

    async def steer(self, text: str) -> bool:  # noqa: ARG002 - neither protocol takes words into a running turn
        return False

    async def interrupt(self) -> None:
        self._stopped = True
        if self._talk is not None and self._prompted:
            with contextlib.suppress(AgentFailed):
                await self._dialect.interrupt(self._talk)

    async def close(self, *, kill: bool = False) -> None:
        try:
            if self._talk is not None:
                await self._talk.peer.stop(grace=0.5 if kill else 3.0)
        finally:
            self._release(self._start)

    async def _natives(self, talk: Talk, direction: Direction, message: Message) -> AsyncIterator[Native]:
        if direction == "sent":
            yield Native(raw=message, direction=direction)
        elif "method" in message and "id" in message:
            yield await self._request(talk, message)
        else:
            yield Native(raw=message, neutral=self._neutral(message), end=self._end(message))

    async def _request(self, talk: Talk, message: Message) -> Native:
        try:
            ask = self._translator.ask(message)
        except (KeyError, TypeError, ValueError):
            logger.warning("acp.misunderstood", method=message.get("method"), exc_info=True)
            ask = None
        if ask is None:
            await talk.peer.refuse(message["id"])
            return Native(raw=message)
        if self._dialect.always_asks and self._start.approval_policy == "never":
            shown = self._neutral(message)
            await talk.peer.respond(message["id"], self._translator.response(message, Decision(kind="accept")))
            return Native(raw=message, neutral=shown)
        self._asked[ask.key] = message
        return Native(raw=message, neutral=self._neutral(message), ask=ask)

    def _neutral(self, message: Message) -> tuple[Payload, ...]:
        try:
            return self._translator.neutral(message)
        except (KeyError, TypeError, ValueError, AttributeError):
            # Another version of the agent: the raw line is in the log, the run goes on.
            logger.warning("acp.untranslated", method=message.get("method"), exc_info=True)
            return ()

    def _end(self, message: Message) -> TurnEnd | None:
        refused: Any = message.get("error")
        if refused and message.get("id") == PROMPT:
            return TurnEnd(status="error", message=str(refused.get("message")), reason="agent_error")
        return self._translator.end(message)

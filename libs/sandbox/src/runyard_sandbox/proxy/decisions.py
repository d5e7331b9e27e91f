"""Asks the orchestrator whether a sandbox may reach a host. Without an answer it may not."""

import asyncio
import json
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from urllib.parse import urlencode

from runyard_sandbox.proxy.config import Target

PASS_HEADER = "X-Runyard-Pass"  # noqa: S105 (the header's name)
_ASK_SECONDS = 5.0
_LONGEST_ANSWER = 64 * 1024
_LONGEST_CACHE_SECONDS = 60.0
_MOST_CACHED = 4096
_NO_ANSWER = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    asyncio.IncompleteReadError,
    asyncio.LimitOverrunError,
)


class Undecided(Exception):
    """No answer could be had."""


@dataclass(frozen=True, slots=True)
class Question:
    """Who wants to go where: the peer with the address of its own network, or with what it shows instead."""

    peer: str
    host: str
    port: int
    shown: str | None = field(default=None, repr=False)


class Decisions:
    """Answers, kept for as long as each says; the same question asked twice at a time is asked once."""

    def __init__(self, target: Target, token: str | None = None) -> None:
        self._target = target
        self._token = token
        self._kept: OrderedDict[Question, tuple[bool, float]] = OrderedDict()
        self._asked: dict[Question, asyncio.Future[bool]] = {}

    async def allows(self, question: Question) -> bool:
        """The answer. Raises `Undecided`."""
        kept = self._kept.get(question)
        if kept is not None and kept[1] > time.monotonic():
            return kept[0]
        asked = self._asked.get(question)
        if asked is None:
            asked = self._asked[question] = asyncio.ensure_future(self._ask(question))
            asked.add_done_callback(lambda _: self._asked.pop(question, None))
        return await asyncio.shield(asked)

    async def _ask(self, question: Question) -> bool:
        try:
            async with asyncio.timeout(_ASK_SECONDS):
                answer = json.loads(await self._get(question))
            allowed, seconds = answer["allowed"] is True, min(float(answer["seconds"]), _LONGEST_CACHE_SECONDS)
        except _NO_ANSWER as error:
            raise Undecided(type(error).__name__) from None
        self._kept[question] = (allowed, time.monotonic() + seconds)
        self._kept.move_to_end(question)
        while len(self._kept) > _MOST_CACHED:
            self._kept.popitem(last=False)
        return allowed

    async def _get(self, question: Question) -> bytes:
        query = urlencode({"peer": question.peer, "host": question.host, "port": question.port})
        head = [f"GET /internal/egress?{query} HTTP/1.0", "Host: orchestrator", "Accept: application/json"]
        if self._token:
            head.append(f"Authorization: Bearer {self._token}")
        if question.shown is not None:
            head.append(f"{PASS_HEADER}: {question.shown}")
        reader, writer = await self._open()
        try:
            writer.write("\r\n".join([*head, "", ""]).encode())
            await writer.drain()
            answer = await reader.readuntil(b"\r\n\r\n")
            status = answer.split(b" ", 2)[1]
            if status != b"200":
                raise ValueError(f"answered {status!r}")
            return await reader.read(_LONGEST_ANSWER)
        finally:
            writer.close()

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._target.path is not None:
            return await asyncio.open_unix_connection(self._target.path, limit=_LONGEST_ANSWER)
        return await asyncio.open_connection(self._target.host, self._target.port, limit=_LONGEST_ANSWER)

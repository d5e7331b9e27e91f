"""The log as the container of a session sees it: appends as everybody does, reads page by page.

A container creates no consumers: their configuration, which is the caller's own, could name subjects to
deliver to. It asks the orchestrator for pages of its session's events, and hears of new ones as they come.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from runyard_events.errors import LogUnavailable, Malformed
from runyard_events.log import EventLog
from runyard_events.session_account import LIVE, READ, READABLE, read_subject
from runyard_events.stored import StoredEvent
from runyard_events.subjects import Address, parse, run_everything, run_subject

logger = structlog.get_logger(__name__)

PAGE_EVENTS = 256
PAGE_BYTES = 1024 * 1024
LOOK_SECONDS = 5.0
"""How often a follower looks by itself, should a hint have got lost."""
_HINTS = (0.0, 0.05, 0.2, 1.0)
"""An event is passed on before it is stored: seconds until a follower finds it."""


class SessionLog(EventLog):
    """One session's runs. Subjects are those of one run, of one family or (`>`) of all."""

    def __init__(self, client: Client, *, patience_seconds: float = 15.0, attempt_seconds: float = 5.0) -> None:
        super().__init__(client, patience_seconds=patience_seconds, attempt_seconds=attempt_seconds)

    async def replay(self, *subjects: str, from_seq: int = 1) -> AsyncGenerator[StoredEvent, None]:
        """The events of one subject from a stream sequence on, up to the end of the log as it is now.

        Raises:
            LogUnavailable: whoever answers is away.
        """
        [subject] = subjects
        address = parse(subject)
        after, is_end = from_seq - 1, False
        while not is_end:
            page, is_end = await self._page(address, after)
            for stored in page:
                yield stored
                after = stored.stream_seq

    async def follow(self, *subjects: str, from_seq: int | None = None) -> AsyncGenerator[StoredEvent, None]:
        """The same for the lifecycle, and then whatever is appended, for ever."""
        [subject] = subjects
        news = asyncio.Event()

        async def hear(_message: Msg) -> None:
            news.set()

        subscription = await self._client.subscribe(f"{LIVE}.{subject}", cb=hear)
        try:
            position = await self._end_of(subject) if from_seq is None else from_seq - 1
            while True:
                async with aclosing(self._news(subject, position)) as events:
                    async for stored in events:
                        position = stored.stream_seq
                        yield stored
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_SECONDS):
                        await news.wait()
                news.clear()
        finally:
            with contextlib.suppress(NatsError):
                await subscription.unsubscribe()

    async def _news(self, subject: str, position: int) -> AsyncGenerator[StoredEvent, None]:
        """What has come behind a position; a log that is away is asked again at the next look."""
        for pause in _HINTS:
            await asyncio.sleep(pause)
            try:
                last = await self.last(subject)
                if last is None or last.stream_seq <= position:
                    continue
                async for stored in self.replay(subject, from_seq=position + 1):
                    yield stored
            except LogUnavailable as error:
                logger.warning("log.unavailable", error=str(error))
            return

    async def _end_of(self, subject: str) -> int:
        last = await self.last(subject)
        return last.stream_seq if last else 0

    async def _page(self, address: Address, after: int) -> tuple[list[StoredEvent], bool]:
        asked = {"run": address.run_id, "family": address.family, "after": after}
        subject = read_subject(address.tenant_id, str(address.session_id))

        async def attempt() -> Msg:
            return await self._client.request(subject, json.dumps(asked).encode(), timeout=self._attempt)

        answer: dict[str, Any] = json.loads((await self._patiently(attempt)).data)
        if "error" in answer:
            raise LogUnavailable(f"events are not given out: {answer['error']}")
        events = [StoredEvent(seq, subject, data.encode()) for seq, subject, data in answer["events"]]
        return events, bool(answer["end"])


async def answer_page(log: EventLog, subject: str, body: bytes) -> bytes:
    """The answer to a container's request; `subject`, which the server has checked, says whose events it may see.

    Raises:
        LogUnavailable: the log does not answer.
    """
    try:
        wanted, after = _wanted(subject, json.loads(body))
    except (ValueError, KeyError, TypeError, Malformed):
        return json.dumps({"error": "not a request for events"}).encode()
    events: list[tuple[int, str, str]] = []
    size, is_end = 0, True
    async with aclosing(log.replay(wanted, from_seq=after + 1)) as found:
        async for stored in found:
            if len(events) >= PAGE_EVENTS or (events and size + len(stored.data) > PAGE_BYTES):
                is_end = False
                break
            if stored.family in READABLE:
                events.append((stored.stream_seq, stored.subject, stored.data.decode()))
                size += len(stored.data)
    return json.dumps({"events": events, "end": is_end}, ensure_ascii=False).encode()


def _wanted(subject: str, asked: dict[str, Any]) -> tuple[str, int]:
    tenant, session = subject.removeprefix(f"{READ}.").split(".")
    run, family, after = asked["run"], asked["family"], asked["after"]
    if not (isinstance(run, str) and run and set(run).isdisjoint(".*> \t\r\n")):
        raise ValueError("no run")
    if not isinstance(after, int) or not 0 <= after < 2**62:
        raise ValueError("no place")
    if family == ">":
        return run_everything(tenant, session, run), after
    if family not in READABLE:
        raise ValueError("no such family")
    return run_subject(tenant, session, run, family), after

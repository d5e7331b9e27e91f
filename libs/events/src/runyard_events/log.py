"""The event log: append with compare-and-set, read back, replay, follow.

A retry is always safe: ids are deterministic, the stream drops what it has seen within its window, and
behind a lost compare-and-set the log looks whether the event that stands there is the very one that
was to be written (an answer got lost), which counts as success.
"""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import uuid4

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from runyard_events.codec import encode
from runyard_events.envelope import Envelope
from runyard_events.errors import Conflict, EventError, LogUnavailable
from runyard_events.reader import Reader
from runyard_events.stored import StoredEvent

Answer = TypeVar("Answer")

logger = structlog.get_logger(__name__)

STREAM = "EVENTS"
_WRONG_LAST_SEQUENCE = 10071
_DUPLICATE_IN_BATCH = 10201
_BATCH_NOT_BEGUN = 10176
_BATCH_PAUSES = (0.02, 0.1)
"""Seconds before a batch that could not begin is tried again."""
_BATCH_LIMIT = 500
_BATCH_PAYS_FROM = 24
"""Below this many events publishes in flight together are faster than one atomic batch (2 to 6 ms), above slower."""


@dataclass(frozen=True, slots=True)
class Append:
    """An event, its subject, and what must stand last on that subject (None: whatever does; 0: nothing yet)."""

    subject: str
    event: Envelope
    expect: int | None = None

    def headers(self) -> dict[str, str]:
        """The headers that make the append safe to repeat."""
        headers = {"Nats-Msg-Id": self.event.id}
        if self.expect is not None:
            headers["Nats-Expected-Last-Subject-Sequence"] = str(self.expect)
        return headers


class EventLog:
    """The EVENTS stream, seen through one connection."""

    def __init__(self, client: Client, *, patience_seconds: float = 15.0, attempt_seconds: float = 5.0) -> None:
        self._client = client
        self._patience = patience_seconds
        self._attempt = attempt_seconds

    async def append(self, append: Append) -> int:
        """Writes one event and returns its stream sequence.

        Raises:
            Conflict: `expect` does not hold and the last event of the subject is another one.
            LogUnavailable: no answer in time; whether it was written is not known, repeat it.
        """
        payload, headers = encode(append.event), append.headers()

        async def attempt() -> dict[str, Any]:
            message = await self._client.request(append.subject, payload, timeout=self._attempt, headers=headers)
            return json.loads(message.data)

        answer = await self._patiently(attempt)
        if "error" not in answer:
            return int(answer["seq"])
        return await self._settle(answer["error"], [append])

    async def append_all(self, appends: Sequence[Append]) -> int:
        """Writes all of them or none, in this order, and returns the stream sequence of the last.

        But for one case: a stream holds fifty unfinished batches at a time, and a container may leave as many as
        it likes. Then they are written one after the other, up to the first that is refused.

        Raises:
            Conflict: one of the expectations does not hold.
            LogUnavailable: as for `append`.
        """
        return (await self.append_placed(appends))[-1]

    async def append_placed(self, appends: Sequence[Append]) -> list[int]:
        """The same; returns the stream sequence of each."""
        if len(appends) == 1:
            return [await self.append(appends[0])]
        if not 0 < len(appends) <= _BATCH_LIMIT:
            raise ValueError(f"a batch holds 1 to {_BATCH_LIMIT} events, not {len(appends)}")
        encoded = [(one.subject, encode(one.event), one.headers()) for one in appends]

        async def attempt() -> dict[str, Any]:
            return await self._publish_batch(encoded)

        answer = await self._patiently(attempt)
        for pause in _BATCH_PAUSES:
            if answer.get("error", {}).get("err_code") != _BATCH_NOT_BEGUN:
                break
            await asyncio.sleep(pause)
            answer = await self._patiently(attempt)
        else:
            if answer.get("error", {}).get("err_code") == _BATCH_NOT_BEGUN:
                logger.warning("log.no_batch", events=len(appends))
                return [await self.append(one) for one in appends]
        last = await self._settle(answer["error"], appends) if "error" in answer else int(answer["seq"])
        # A batch is contiguous in the stream, so each event's place follows from the last one's.
        return list(range(last - len(appends) + 1, last + 1))

    async def append_many(self, appends: Sequence[Append]) -> int:
        """Writes them in this order, as fast as it goes, and returns the stream sequence of the last.

        Not all or nothing: after an error a first part may stand. Repeating the call is safe.
        """
        sequence = 0
        for start in range(0, len(appends), _BATCH_LIMIT):
            part = appends[start : start + _BATCH_LIMIT]
            if len(part) >= _BATCH_PAYS_FROM or len(part) == 1:
                sequence = await self.append_all(part)
                continue
            sequence = (await self.append_each(part))[-1]
        return sequence

    async def append_each(self, appends: Sequence[Append]) -> list[int]:
        """Writes them in this order, in flight together, each with its own expectation; returns their places.

        Not all or nothing: after an error some may stand, later ones too. Repeating the call is safe.

        Raises:
            Conflict: the first expectation that does not hold.
            LogUnavailable: as for `append`.
        """
        answers = await self._in_flight_together([(one, one.headers()) for one in appends])
        return [
            await self._settle(answer["error"], [one]) if "error" in answer else int(answer["seq"])
            for one, answer in zip(appends, answers, strict=True)
        ]

    async def append_guarded(self, appends: Sequence[Append], *, guard: str, expect: int) -> int:
        """Writes a decision and its twins when `expect` stands last on the subject `guard`, in one go.

        The decision is the last of `appends`, the only one on `guard`. Much faster than `append_all`, and
        all or nothing but for one case: somebody who writes to `guard` between two of them leaves the
        twins without their decision.

        Raises:
            Conflict: `expect` does not hold.
            LogUnavailable: as for `append`.
        """
        conditions = {
            "Nats-Expected-Last-Subject-Sequence": str(expect),
            "Nats-Expected-Last-Subject-Sequence-Subject": guard,
        }
        answers = await self._in_flight_together([(one, one.headers() | conditions) for one in appends])
        errors = [answer["error"] for answer in answers if "error" in answer]
        if not errors:
            return int(answers[-1]["seq"])
        if errors[0].get("err_code") == _WRONG_LAST_SEQUENCE:
            last = await self.last(guard)
            if last is None or last.event.id != appends[-1].event.id:
                raise Conflict(guard, expect, last)
        return await self._settle(errors[0], appends[-1:])

    async def last(self, subject: str) -> StoredEvent | None:
        """The newest event of one subject, read from the stream itself; None when there is none.

        Raises:
            LogUnavailable: no answer in time.
        """

        async def attempt() -> Msg:
            return await self._client.request(f"$JS.API.DIRECT.GET.{STREAM}.{subject}", b"", timeout=self._attempt)

        message = await self._patiently(attempt)
        headers = message.headers or {}
        if headers.get("Status") == "404" or "Nats-Sequence" not in headers:
            return None
        return StoredEvent(int(headers["Nats-Sequence"]), headers["Nats-Subject"], message.data)

    def reader(self, *subjects: str, from_seq: int | None = None, inactive_seconds: float = 5.0) -> Reader:
        """A reader of these subjects; `from_seq` None: only what is appended from now on."""
        return Reader(self._client, STREAM, subjects, from_seq=from_seq, inactive_seconds=inactive_seconds)

    async def replay(self, *subjects: str, from_seq: int = 1) -> AsyncGenerator[StoredEvent, None]:
        """The events of these subjects from a stream sequence on, up to the end of the log as it is now."""
        reader = self.reader(*subjects, from_seq=from_seq, inactive_seconds=2.0)
        try:
            await reader.open()
            if not reader.pending:
                return
            async for batch in reader.batches():
                for event in batch:
                    yield event
                if not reader.pending:
                    return
        finally:
            await reader.close()

    async def follow(self, *subjects: str, from_seq: int | None = None) -> AsyncGenerator[StoredEvent, None]:
        """The same, and then whatever is appended, for ever."""
        reader = self.reader(*subjects, from_seq=from_seq)
        try:
            async for batch in reader.batches():
                for event in batch:
                    yield event
        finally:
            await reader.close()

    async def _in_flight_together(self, appends: Sequence[tuple[Append, dict[str, str]]]) -> list[dict[str, Any]]:
        """Publishes all before the first answer is there; the server takes them in this order.

        They leave in one write, so a connection that breaks loses the end of them, never the middle.
        """
        encoded = [(one.subject, encode(one.event), headers) for one, headers in appends]

        async def attempt() -> list[dict[str, Any]]:
            requests = (
                self._client.request(subject, payload, timeout=self._attempt, headers=headers)
                for subject, payload, headers in encoded
            )
            answers = await asyncio.gather(*requests, return_exceptions=True)
            for answer in answers:
                if isinstance(answer, BaseException):
                    raise answer
            return [json.loads(answer.data) for answer in answers if isinstance(answer, Msg)]

        return await self._patiently(attempt)

    async def _publish_batch(self, encoded: Sequence[tuple[str, bytes, dict[str, str]]]) -> dict[str, Any]:
        batch = uuid4().hex
        for number, (subject, payload, headers) in enumerate(encoded[:-1], start=1):
            batched = {**headers, "Nats-Batch-Id": batch, "Nats-Batch-Sequence": str(number)}
            await self._client.publish(subject, payload, headers=batched)
        subject, payload, headers = encoded[-1]
        final = {
            **headers,
            "Nats-Batch-Id": batch,
            "Nats-Batch-Sequence": str(len(encoded)),
            "Nats-Batch-Commit": "1",
        }
        message = await self._client.request(subject, payload, timeout=self._attempt, headers=final)
        return json.loads(message.data)

    async def _patiently(self, attempt: Callable[[], Awaitable[Answer]]) -> Answer:
        """Repeats an attempt while the server is away, until patience ends."""
        deadline = time.monotonic() + self._patience
        delay = 0.05
        while True:
            try:
                return await attempt()
            except (NatsError, TimeoutError, OSError) as error:
                if self._client.is_closed or time.monotonic() + delay > deadline:
                    raise LogUnavailable(f"the event log does not answer: {error or 'time-out'}") from error
            await asyncio.sleep(delay)
            delay = min(delay * 2, 1.0)

    async def _settle(self, error: dict[str, Any], appends: Sequence[Append]) -> int:
        """Decides what a refused append means by looking at what stands there now.

        A batch is atomic: when the last event that it holds for a guarded subject stands there, all of
        it was written by an earlier attempt whose answer was lost.
        """
        if error.get("err_code") not in (_WRONG_LAST_SEQUENCE, _DUPLICATE_IN_BATCH):
            raise EventError(f"the event log refused: {error.get('description')} ({error.get('err_code')})")
        newest = {one.subject: one for one in appends}
        guarded = {one.subject: one.expect for one in appends if one.expect is not None}
        final = appends[-1]
        for subject in guarded or (final.subject,):
            last = await self.last(subject)
            if last is None or last.event.id != newest[subject].event.id:
                raise Conflict(subject, guarded.get(subject), last)
        stands = await self.last(final.subject)
        return stands.stream_seq if stands else 0

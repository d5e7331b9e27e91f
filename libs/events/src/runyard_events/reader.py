"""Reading a stream in order, from any place, for as long as one likes.

An ephemeral push consumer delivers without acknowledgements; the reader watches the consumer's own
sequence for gaps and its heartbeat for silence, and starts a new consumer behind the last event that
it has passed on whenever something is amiss (a reconnect, a restarted server). What it yields is
therefore exactly the stream, in order, once. Flow control is answered when the reader gets there, so
a slow reader slows the server down instead of filling its own memory.

Source: NATS ADR-17 (ordered consumer).
"""

import asyncio
import json
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from nats.nuid import NUID

from runyard_events.errors import LogUnavailable
from runyard_events.stored import StoredEvent

logger = structlog.get_logger(__name__)

HEARTBEAT_SECONDS = 2.0
_ACK_TOKENS = 9
_BATCH = 512
_NS = 1_000_000_000


class Reader:
    """A position in a stream and the subjects read from it.

    `position` is the sequence of the last event passed on; `pending` how many matched behind it when
    the server sent it. One reader is for one task.
    """

    def __init__(
        self,
        client: Client,
        stream: str,
        subjects: Sequence[str],
        *,
        from_seq: int | None = None,
        inactive_seconds: float = 5.0,
        create_timeout: float = 5.0,
    ) -> None:
        self._client = client
        self._stream = stream
        self._subjects = list(subjects)
        self._inactive_seconds = inactive_seconds
        self._create_timeout = create_timeout
        self._from_seq = from_seq
        self._buffer: deque[Msg] = deque()
        self._arrived = asyncio.Event()
        self._subscription: Subscription | None = None
        self._consumer_seq = 0
        self._name = ""
        self.position = (from_seq or 1) - 1
        self.pending: int | None = None

    async def open(self) -> None:
        """Creates the consumer; afterwards `pending` tells how much there is to read.

        Raises:
            LogUnavailable: the server did not answer in time.
        """
        await self.close()
        self._buffer = buffer = deque[Msg]()
        self._consumer_seq = 0
        self._name = NUID().next().decode()
        inbox = self._client.new_inbox()

        async def deliver(message: Msg) -> None:
            buffer.append(message)
            self._arrived.set()

        try:
            self._subscription = await self._client.subscribe(
                inbox, cb=deliver, pending_msgs_limit=-1, pending_bytes_limit=-1
            )
            answer = await self._client.request(
                self._create_subject(),
                json.dumps(self._request(inbox)).encode(),
                timeout=self._create_timeout,
            )
        except (NatsError, TimeoutError, OSError) as error:
            raise LogUnavailable(f"stream {self._stream} does not answer: {error or 'time-out'}") from error
        body: dict[str, Any] = json.loads(answer.data)
        if "error" in body:
            raise LogUnavailable(f"stream {self._stream}: {body['error'].get('description')}")
        self.pending = int(body["num_pending"])
        if self._from_seq is None:
            # A reader of what is new begins behind whatever had been there when its consumer was made.
            self.position = int(body["delivered"]["stream_seq"])
            self._from_seq = self.position + 1

    async def close(self) -> None:
        """Ends delivery; the server forgets the consumer by itself."""
        subscription, self._subscription = self._subscription, None
        if subscription is not None and not self._client.is_closed:
            try:
                await subscription.unsubscribe()
            except NatsError:
                return

    async def batches(self) -> AsyncGenerator[list[StoredEvent], None]:
        """Yields what has arrived, in order, for ever; an empty list says that there is nothing now."""
        await self._open_again_until_it_works()
        if not self.pending:
            yield []
        while True:
            if not self._buffer:
                self._arrived.clear()
                if not await self._anything_within(HEARTBEAT_SECONDS * 2.5):
                    await self._open_again_until_it_works()
                    yield []
                    continue
            events, intact = await self._drain()
            if events or not intact:
                yield events
            elif not self._buffer:
                yield []
            if not intact:
                await self._open_again_until_it_works()

    async def _anything_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._arrived.wait()
        except TimeoutError:
            return False
        return True

    async def _drain(self) -> tuple[list[StoredEvent], bool]:
        events: list[StoredEvent] = []
        while self._buffer and len(events) < _BATCH:
            message = self._buffer.popleft()
            if not message.reply.startswith("$JS.ACK."):
                if not await self._answer_status(message):
                    return events, False
                continue
            tokens = message.reply.rsplit(".", 5)
            stream_seq, consumer_seq, pending = int(tokens[-4]), int(tokens[-3]), int(tokens[-1])
            if len(message.reply.split(".", _ACK_TOKENS)) > _ACK_TOKENS:
                # With a domain and account hash one random token follows the count of pending messages.
                stream_seq, consumer_seq, pending = (int(message.reply.split(".")[i]) for i in (7, 8, 10))
            if consumer_seq != self._consumer_seq + 1:
                return events, False
            self._consumer_seq = consumer_seq
            self.position = stream_seq
            self.pending = pending
            events.append(StoredEvent(stream_seq, message.subject, message.data, pending))
        return events, True

    async def _answer_status(self, message: Msg) -> bool:
        """Flow control wants an answer; a heartbeat that counts more than came means a gap."""
        headers = message.headers or {}
        if message.reply:
            await self._client.publish(message.reply)
            return True
        stalled = headers.get("Nats-Consumer-Stalled")
        if stalled:
            await self._client.publish(stalled)
        last = headers.get("Nats-Last-Consumer")
        return last is None or int(last) == self._consumer_seq

    async def _open_again_until_it_works(self) -> None:
        delay = 0.1
        while True:
            try:
                await self.open()
            except LogUnavailable as error:
                if self._client.is_closed:
                    raise
                logger.warning("reader.waits", stream=self._stream, seconds=delay, reason=str(error))
                await asyncio.sleep(delay)
                delay = min(delay * 2, 2.0)
            else:
                return

    def _create_subject(self) -> str:
        base = f"$JS.API.CONSUMER.CREATE.{self._stream}.{self._name}"
        # The filter in the subject is what a user's permissions are checked against.
        return f"{base}.{self._subjects[0]}" if len(self._subjects) == 1 else base

    def _request(self, inbox: str) -> dict[str, Any]:
        config: dict[str, Any] = {
            "name": self._name,
            "deliver_subject": inbox,
            "ack_policy": "none",
            "max_deliver": 1,
            "mem_storage": True,
            "num_replicas": 1,
            "flow_control": True,
            "idle_heartbeat": int(HEARTBEAT_SECONDS * _NS),
            "inactive_threshold": int(self._inactive_seconds * _NS),
        }
        if len(self._subjects) == 1:
            config["filter_subject"] = self._subjects[0]
        else:
            config["filter_subjects"] = self._subjects
        if self._from_seq is None and self.position == 0:
            config["deliver_policy"] = "new"
        else:
            config["deliver_policy"] = "by_start_sequence"
            config["opt_start_seq"] = max(1, self.position + 1)
        return {"stream_name": self._stream, "config": config}

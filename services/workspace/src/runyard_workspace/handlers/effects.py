"""The durable consumer of runs' lifecycles: each event is worked on until it is done, then acknowledged."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from weakref import WeakValueDictionary

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.errors import APIError

from runyard_chassis import get_logger
from runyard_events import LogUnavailable, Malformed, StoredEvent, bury
from runyard_events.catalogue.run import TERMINAL_TYPES
from runyard_events.connection import inbox_prefix
from runyard_events.topology import EVENTS, MAX_DELIVER

CONSUMER = "workspace-effects"
FETCH_SECONDS = 5.0
KEEP_ALIVE_SECONDS = 10.0
RETRY_SECONDS = (1.0, 5.0, 15.0, 30.0)
AT_ONCE = 4
OF_EACH = 32
"""Ends of one session's runs that are worked on or wait for it. More are given up: a container writes them itself, as
many as it likes, and can make each take long; others want theirs seen to as well."""

Handle = Callable[[StoredEvent], Awaitable[None]]
_log = get_logger(__name__)


class Effects:
    """Pulls events and has them handled, a few at a time, one of each session, in no particular order."""

    def __init__(self, client: Client, handle: Handle) -> None:
        self._client = client
        self._handle = handle
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._taken: Counter[str] = Counter()

    async def run(self) -> None:
        """Works until cancelled; waits for the server whenever it is away."""
        stream = JetStreamContext(self._client)
        prefix = f"{inbox_prefix('workspace')}.".encode()
        subscription = await stream.pull_subscribe_bind(CONSUMER, stream=EVENTS, inbox_prefix=prefix)
        async with asyncio.TaskGroup() as tasks:
            while True:
                # No more than the server hands out without an answer are in here at a time.
                message = await self._next(subscription)
                stored = StoredEvent(message.metadata.sequence.stream, message.subject, message.data)
                if await self._is_taken(message, stored):
                    tasks.create_task(self._in_turn(message, stored))

    async def _next(self, subscription: JetStreamContext.PullSubscription) -> Msg:
        while True:
            try:
                return (await subscription.fetch(1, timeout=FETCH_SECONDS))[0]
            except TimeoutError:
                continue
            except (NatsError, APIError) as error:
                _log.warning("effects.waiting", error=str(error) or type(error).__name__)
                await asyncio.sleep(1)

    async def _is_taken(self, message: Msg, stored: StoredEvent) -> bool:
        """Whether something is to be done for an event; what is not is settled at once."""
        try:
            if stored.event.type not in TERMINAL_TYPES:
                with suppress(NatsError):
                    await message.ack()
                return False
        except Malformed as error:
            await self._give_up(message, stored, str(error))
            return False
        session = stored.address.session_id or ""
        if self._taken[session] >= OF_EACH:
            await self._give_up(message, stored, "too many ends of runs in one session at a time")
            return False
        self._taken[session] += 1
        return True

    async def _in_turn(self, message: Msg, stored: StoredEvent) -> None:
        session = stored.address.session_id or ""
        try:
            async with _kept_alive(message), self._turns.setdefault(session, asyncio.Lock()), self._slots:
                await self._work(message, stored)
        except asyncio.CancelledError:
            with suppress(NatsError):
                await message.nak()  # another process need not wait until the ack is overdue
            raise
        finally:
            self._taken[session] -= 1
            if not self._taken[session]:
                del self._taken[session]

    async def _work(self, message: Msg, stored: StoredEvent) -> None:
        place = message.metadata
        try:
            await self._handle(stored)
        except Malformed as error:
            await self._give_up(message, stored, str(error))
        except Exception as error:  # noqa: BLE001 - whatever it was, the event is worked on again
            _log.exception("effects.failed", seq=stored.stream_seq, delivery=place.num_delivered)
            if place.num_delivered >= MAX_DELIVER:
                await self._give_up(message, stored, f"{type(error).__name__}: {error}")
            else:
                with suppress(NatsError):
                    await message.nak(delay=RETRY_SECONDS[min(place.num_delivered, len(RETRY_SECONDS)) - 1])
        else:
            with suppress(NatsError):
                await message.ack()

    async def _give_up(self, message: Msg, stored: StoredEvent, reason: str) -> None:
        with suppress(NatsError, OSError, LogUnavailable):  # it comes again
            await bury(
                self._client,
                consumer=CONSUMER,
                stream=EVENTS,
                stream_seq=stored.stream_seq,
                subject=stored.subject,
                reason=reason,
            )
            await message.term()


@asynccontextmanager
async def _kept_alive(message: Msg) -> AsyncGenerator[None]:
    async def tell() -> None:
        while True:
            await asyncio.sleep(KEEP_ALIVE_SECONDS)
            with suppress(NatsError):
                await message.in_progress()

    teller = asyncio.ensure_future(tell())
    try:
        yield
    finally:
        teller.cancel()

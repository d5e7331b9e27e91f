"""The process manager: after every event that may oblige us, sees to it that nothing is owed.

At-least-once by the durable `orchestrator-process`. It does not decide from the event that was
delivered but from the session as it stands, so an event that comes twice, late or out of order is
harmless. An event waits until the rows show it; whichever of two related events is dealt with last
therefore sees both.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from runyard_chassis import Problem, log_context
from runyard_events import LogUnavailable, StoredEvent, bury
from runyard_events.catalogue import TERMINAL_TYPES
from runyard_events.database import DATABASE_FAULTS
from runyard_events.tasks import end_tasks
from runyard_events.topology import EVENTS, MAX_DELIVER
from runyard_orchestrator.adapters.ledger import Cause
from runyard_orchestrator.handlers.desk import Desk
from runyard_orchestrator.store.reading import SessionKey

logger = structlog.get_logger(__name__)

DURABLE = "orchestrator-process"
OBLIGING = TERMINAL_TYPES | {
    "session.created",
    "session.run_queued",
    "session.deleted",
    "session.failed",
    "run.requested",
    "run.dispatched",
    "worktree.opened",
    "worktree.failed",
    "worktree.removed",
}
_FETCH = 64
_FETCH_SECONDS = 5.0
_PROGRESS_SECONDS = 8.0
_AWAY = (LogUnavailable, *DATABASE_FAULTS)


class Process:
    """Works through the events, several sessions at once, each session in order."""

    def __init__(self, client: Client, desk: Desk, *, concurrency: int = 16) -> None:
        self._client = client
        self._desk = desk
        self._slots = asyncio.Semaphore(concurrency)
        self._queues: dict[SessionKey, list[Msg]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Takes events until cancelled; what is not acknowledged by then is delivered again."""
        try:
            subscription = await self._client.jetstream().pull_subscribe_bind(durable=DURABLE, stream=EVENTS)
            while True:
                for message in await self._next(subscription):
                    await self._take(message)
        finally:
            await end_tasks(*self._tasks)

    async def _next(self, subscription: Any) -> Sequence[Msg]:
        try:
            return await subscription.fetch(_FETCH, timeout=_FETCH_SECONDS)
        except TimeoutError:
            return ()
        except NatsError as error:
            if self._client.is_closed:
                raise
            logger.warning("process.waiting", error=str(error) or type(error).__name__)
            await asyncio.sleep(0.5)
            return ()

    async def _take(self, message: Msg) -> None:
        if _named(message)[1] not in OBLIGING:
            await _quietly(message.ack())
            return
        address = _stored(message).address
        key = SessionKey(address.tenant_id, address.session_id or address.aggregate_id)
        waiting = self._queues.get(key)
        if waiting is not None:
            waiting.append(message)
            return
        self._queues[key] = [message]
        task = asyncio.create_task(self._work_through(key))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _work_through(self, key: SessionKey) -> None:
        """Everything that has gathered for one session is one look at it."""
        with log_context(tenant_id=key.tenant_id, session_id=key.session_id):
            while messages := self._queues[key]:
                self._queues[key] = []
                async with _kept_alive(messages):
                    await self._see_to(key, messages)
            del self._queues[key]

    async def _see_to(self, key: SessionKey, messages: Sequence[Msg]) -> None:
        delay = 0.1
        while True:
            try:
                async with self._slots:  # not while it waits to try again: others must not wait for this session
                    await self._follow_up(key, messages)
            except (*_AWAY, Problem) as error:
                logger.warning("process.retrying", error=str(error) or type(error).__name__)
                await asyncio.sleep(delay)
                delay = min(delay * 2, 5.0)
            except Exception as error:
                logger.exception("process.failed")
                await self._give_back(messages, error)
                return
            else:
                for message in messages:
                    await _quietly(message.ack())
                return

    async def _follow_up(self, key: SessionKey, messages: Sequence[Msg]) -> None:
        events = [_stored(message) for message in messages]
        for stored in events:
            if not await self._desk.projections.reached(stored.address, stored.stream_seq):
                raise LogUnavailable(f"the rows do not show event {stored.stream_seq} yet")
        named = dict(_named(message) for message in messages)
        if await self._desk.has_seen_to(key, named):
            return
        newest = json.loads(events[-1].data)
        cause = Cause(newest["id"], newest.get("correlationId"), newest.get("traceparent"))
        await self._desk.follow_up(key, cause, events=named.values())

    async def _give_back(self, messages: Sequence[Msg], error: Exception) -> None:
        """Again a little later; after the last delivery into the dead letters, where the reconciler takes over."""
        for message in messages:
            if message.metadata.num_delivered < MAX_DELIVER:
                await _quietly(message.nak(delay=2.0))
                continue
            with contextlib.suppress(LogUnavailable):
                await bury(
                    self._client,
                    consumer=DURABLE,
                    stream=EVENTS,
                    stream_seq=message.metadata.sequence.stream,
                    subject=message.subject,
                    reason=f"{type(error).__name__}: {error}",
                )
                await _quietly(message.term())


def _stored(message: Msg) -> StoredEvent:
    return StoredEvent(message.metadata.sequence.stream, message.subject, message.data)


def _named(message: Msg) -> tuple[str, str]:
    """Id and type of an event; empty when the bytes are none."""
    try:
        event = json.loads(message.data)
        return str(event["id"]), str(event["type"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return "", ""


@contextlib.asynccontextmanager
async def _kept_alive(messages: Sequence[Msg]) -> AsyncGenerator[None, None]:
    """Tells the server that these are still being worked on."""

    async def tell() -> None:
        while True:
            await asyncio.sleep(_PROGRESS_SECONDS)
            for message in messages:
                await _quietly(message.in_progress())

    telling = asyncio.create_task(tell())
    try:
        yield
    finally:
        await end_tasks(telling)


async def _quietly(answer: Any) -> None:
    """An acknowledgement that gets lost only means that the event comes again."""
    with contextlib.suppress(NatsError, OSError):
        await answer

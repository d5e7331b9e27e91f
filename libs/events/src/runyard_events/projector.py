"""A projection: rows that follow the log, rebuilt at will, never decided upon by anybody else.

Each batch of events and the checkpoint behind it are one transaction, so the rows are at every moment
those of some prefix of the log. Several replicas may run the same projection: the checkpoint's row
lock lets one of them apply a batch, the others skip what is done.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager

import structlog
from nats.aio.client import Client
from sqlalchemy import Table, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from runyard_events.database import DATABASE_FAULTS, is_passing
from runyard_events.dead_letters import bury
from runyard_events.errors import LogUnavailable
from runyard_events.log import STREAM, EventLog
from runyard_events.stored import StoredEvent

logger = structlog.get_logger(__name__)

Apply = Callable[[AsyncSession, Sequence[StoredEvent]], Awaitable[None]]
Sessions = Callable[[], AbstractAsyncContextManager[AsyncSession]]


class Projector:
    """Runs one projection.

    `apply` writes the rows of a batch into the given session and commits nothing; it may be called
    again with the same events after a rollback. An event that fails three times by itself is put into
    the DLQ and passed over, so one bad event never stops a projection; a database that is full, busy or
    away is waited for instead. A pause behind each batch
    makes the next one larger: for projections that nobody waits for, many events cost little more than one.
    """

    def __init__(
        self,
        *,
        name: str,
        log: EventLog,
        client: Client,
        subjects: Sequence[str],
        sessions: Sessions,
        checkpoints: Table,
        apply: Apply,
        after_commit: Callable[[Sequence[StoredEvent]], None] | None = None,
        pause_seconds: float = 0,
    ) -> None:
        self.name = name
        self._log = log
        self._client = client
        self._subjects = subjects
        self._sessions = sessions
        self._checkpoints = checkpoints
        self._apply = apply
        self._after_commit = after_commit
        self._pause = pause_seconds
        self._moved = asyncio.Condition()
        self.position = 0
        """Stream sequence of the last event whose rows are committed."""
        self.caught_up = asyncio.Event()
        """Set once the end of the log, as it was at the start, has been reached."""

    async def run(self) -> None:
        """Follows the log until cancelled; waits for the log and the database whenever they are away."""
        delay = 0.1
        while True:
            try:
                self.position = await self._stored_position()
                await self._follow()
            except (LogUnavailable, *DATABASE_FAULTS) as error:
                logger.warning("projection.waiting", projection=self.name, error=type(error).__name__)
                await asyncio.sleep(delay)
                delay = min(delay * 2, 2.0)
            else:
                return

    async def reached(self, stream_seq: int, *, timeout: float = 5.0) -> bool:  # noqa: ASYNC109
        """Waits until the rows of this sequence are committed; False when that takes longer than `timeout` s."""
        if self.position >= stream_seq:
            return True
        try:
            async with asyncio.timeout(timeout), self._moved:
                await self._moved.wait_for(lambda: self.position >= stream_seq)
        except TimeoutError:
            return False
        return True

    async def _follow(self) -> None:
        reader = self._log.reader(*self._subjects, from_seq=self.position + 1)
        try:
            async for batch in reader.batches():
                if batch:
                    await self._commit(batch)
                if not reader.pending:
                    self.caught_up.set()
                if self._pause and not reader.pending:
                    await asyncio.sleep(self._pause)
        finally:
            await reader.close()

    async def _commit(self, batch: Sequence[StoredEvent]) -> None:
        try:
            await self._transaction(batch)
        except Exception as error:
            if is_passing(error):
                raise
            # Whatever one event provokes must not stop the others.
            logger.warning("projection.batch_failed", projection=self.name, error=repr(error)[:500])
            await self._one_by_one(batch)
        if self._after_commit is not None:
            self._after_commit(batch)
        async with self._moved:
            self.position = batch[-1].stream_seq
            self._moved.notify_all()

    async def _one_by_one(self, batch: Sequence[StoredEvent]) -> None:
        for stored in batch:
            for attempt in (1, 2, 3):
                try:
                    await self._transaction([stored])
                    break
                except Exception as error:
                    if is_passing(error):
                        raise
                    if attempt == 3:  # noqa: PLR2004
                        logger.exception("projection.event_buried", projection=self.name, seq=stored.stream_seq)
                        await self._bury(stored, error)

    async def _bury(self, stored: StoredEvent, error: Exception) -> None:
        await bury(
            self._client,
            consumer=self.name,
            stream=STREAM,
            stream_seq=stored.stream_seq,
            subject=stored.subject,
            reason=f"{type(error).__name__}: {error}",
        )
        async with self._sessions() as session, session.begin():
            await self._advance(session, stored.stream_seq)

    async def _transaction(self, batch: Sequence[StoredEvent]) -> None:
        async with self._sessions() as session, session.begin():
            stands = await self._locked_position(session)
            fresh = [stored for stored in batch if stored.stream_seq > stands]
            if fresh:
                await self._apply(session, fresh)
                await self._advance(session, fresh[-1].stream_seq)

    async def _stored_position(self) -> int:
        async with self._sessions() as session, session.begin():
            statement = insert(self._checkpoints).values(consumer=self.name, stream_seq=0)
            await session.execute(statement.on_conflict_do_nothing())
            return await self._locked_position(session)

    async def _locked_position(self, session: AsyncSession) -> int:
        column = self._checkpoints.c
        statement = select(column.stream_seq).where(column.consumer == self.name).with_for_update()
        return (await session.execute(statement)).scalar_one()

    async def _advance(self, session: AsyncSession, stream_seq: int) -> None:
        column = self._checkpoints.c
        statement = self._checkpoints.update().where(column.consumer == self.name).values(stream_seq=stream_seq)
        await session.execute(statement)

"""One replica does what only one should: it holds an advisory lock for as long as its connection lives."""

import asyncio
import contextlib

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from runyard_chassis import Database
from runyard_events.database import DATABASE_FAULTS

_LOCK = text("select pg_try_advisory_lock(hashtextextended(:name, 0))")
_ALIVE = text("select 1")
_END_WHEN_IDLE = text(
    "select set_config(name, :milliseconds, false) from pg_settings where name='idle_session_timeout'"
)
"""From PostgreSQL 14 on; on an older one a leader that hangs leads until its connection breaks."""


class Leadership:
    """A lock of the database, by name; lost with the connection that holds it.

    `idle_seconds` is how long the leader may ask nothing before the server takes the lead from it: its process
    may hang, while its system keeps the connection open.
    """

    def __init__(self, database: Database, name: str, *, idle_seconds: float = 30) -> None:
        self._database = database
        self._name = name
        self._idle_milliseconds = round(idle_seconds * 1000)
        self._connection: AsyncConnection | None = None
        self._one_at_a_time = asyncio.Lock()

    async def held(self) -> bool:
        """Whether this process leads now; takes the lead if nobody has it."""
        async with self._one_at_a_time:
            return await self._held()

    async def _held(self) -> bool:
        try:
            if self._connection is not None:
                await self._connection.execute(_ALIVE)
                return True
            return await self._take()
        except DATABASE_FAULTS:
            await self.give_up()
            return False

    async def give_up(self) -> None:
        """Lets another lead."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(*DATABASE_FAULTS):
                # The lock belongs to the server's session: into the pool it must not go back.
                await connection.invalidate()
            with contextlib.suppress(*DATABASE_FAULTS):
                await connection.close()

    async def _take(self) -> bool:
        connection = await self._database.engine.connect()
        try:
            connection = await connection.execution_options(isolation_level="AUTOCOMMIT")
            taken = bool(await connection.scalar(_LOCK, {"name": self._name}))
            if taken:
                await connection.execute(_END_WHEN_IDLE, {"milliseconds": str(self._idle_milliseconds)})
        except BaseException:
            await connection.close()
            raise
        if taken:
            self._connection = connection
        else:
            await connection.close()
        return taken

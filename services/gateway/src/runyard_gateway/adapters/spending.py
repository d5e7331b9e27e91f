"""What a container may have recorded: so much in a time, and so much of large outputs altogether."""

import math
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from sqlalchemy import update
from sqlalchemy.dialects.postgresql import insert

from runyard_chassis import Database, Problem, TooLarge
from runyard_gateway.projections.tables import session_outputs

EACH_SECOND = 1024 * 1024
"""Bytes that one session may say for as long as it likes: with their weight 250 messages."""
AT_ONCE = 32 * 1024 * 1024
MESSAGE_BYTES = 4096
"""What a message counts for beside its own bytes: it costs as much to record."""
_MANY = 1024


class Paces:
    """How fast containers say things, each by itself; at this gateway, others count for themselves."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._paid_at: dict[str, float] = {}
        """When each session will have nothing left to make up for, at the rate that it may go on with."""

    def owed(self, session_id: str) -> float:
        """The seconds after which the session may say more; 0: now."""
        return max(0.0, self._paid_at.get(session_id, 0.0) - AT_ONCE / EACH_SECOND - self._clock())

    def check(self, session_id: str) -> None:
        """Raises Problem (429) where the session has said too much already."""
        if wait := self.owed(session_id):
            seconds = math.ceil(wait)
            raise Problem(
                429, "said-too-much", detail=f"The session says more than is recorded; go on in {seconds} s.",
                headers={"Retry-After": str(seconds)}, retry_after=seconds,
            )  # fmt: skip

    def count(self, session_id: str, size: int, messages: int) -> None:
        """Counts messages of so many bytes together."""
        now = self._clock()
        cost = (size + MESSAGE_BYTES * messages) / EACH_SECOND
        if session_id not in self._paid_at and len(self._paid_at) >= _MANY:
            self._paid_at = {one: at for one, at in self._paid_at.items() if at > now}
        self._paid_at[session_id] = max(now, self._paid_at.get(session_id, 0.0)) + cost


class OutputBudget:
    """How many bytes of outputs each session has brought, at any gateway and before any restart."""

    def __init__(self, database: Database, most_bytes: int) -> None:
        self._engine = database.engine.execution_options(isolation_level="AUTOCOMMIT")
        self._most = most_bytes

    @asynccontextmanager
    async def spent(self, session_id: str, size: int) -> AsyncGenerator[None]:
        """So many bytes are kept in this block; if that fails they do not count.

        Raises:
            TooLarge: the session has no so many left.
        """
        cost = max(size, MESSAGE_BYTES)
        if cost > self._most or not await self._take(session_id, cost):
            raise TooLarge(
                f"The session's outputs would be more than {self._most // 1024**2} MiB.", type="outputs-exhausted"
            )
        try:
            yield
        except BaseException:
            await self._give_back(session_id, cost)
            raise

    async def _take(self, session_id: str, cost: int) -> bool:
        total = session_outputs.c.bytes + cost
        row = insert(session_outputs).values(session_id=session_id, bytes=cost)
        statement = row.on_conflict_do_update(
            index_elements=[session_outputs.c.session_id], set_={"bytes": total}, where=total <= self._most
        ).returning(session_outputs.c.bytes)
        async with self._engine.connect() as connection:
            return await connection.scalar(statement) is not None

    async def _give_back(self, session_id: str, cost: int) -> None:
        own = session_outputs.c.session_id == session_id
        async with self._engine.connect() as connection:
            await connection.execute(update(session_outputs).where(own).values(bytes=session_outputs.c.bytes - cost))

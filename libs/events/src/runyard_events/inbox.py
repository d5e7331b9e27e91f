"""The inbox: a side effect happens once, however often its event is delivered."""

from sqlalchemy import Table
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession


class Inbox:
    """Remembers, in the transaction of the effect itself, which events have been dealt with."""

    def __init__(self, table: Table, consumer: str) -> None:
        self._table = table
        self._consumer = consumer

    async def first_time(self, session: AsyncSession, event_id: str) -> bool:
        """Whether this event is new here; from now on, if the transaction commits, it is not.

        A second transaction with the same event waits for the first one's end.
        """
        statement = (
            insert(self._table)
            .values(consumer=self._consumer, event_id=event_id)
            .on_conflict_do_nothing()
            .returning(self._table.c.event_id)
        )
        return (await session.execute(statement)).first() is not None

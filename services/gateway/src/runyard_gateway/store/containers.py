"""Queries on containers and on a team's rules for them."""

from sqlalchemy import RowMapping, select

from runyard_chassis.database import Database
from runyard_gateway.projections.tables import container_environments, sandbox_rules
from runyard_gateway.store.paging import Cut, Rows, newest_first, rows

_TABLE = container_environments


class Containers:
    """Reads of one tenant at a time. What another tenant has is not there."""

    def __init__(self, database: Database) -> None:
        self._engine = database.engine.execution_options(isolation_level="AUTOCOMMIT")

    async def all(self, tenant: str, cut: Cut, *, status: str | None = None, kind: str | None = None) -> Rows:
        """A team's containers, newest first."""
        statement = select(_TABLE).where(_TABLE.c.tenant_id == tenant)
        if status is not None:
            statement = statement.where(_TABLE.c.status == status)
        if kind is not None:
            statement = statement.where(_TABLE.c.container_type == kind)
        async with self._engine.connect() as connection:
            found = (await connection.execute(newest_first(statement, _TABLE.c.first_seq, cut))).mappings().all()
        return rows(found, cut, "first_seq")

    async def of_session(self, tenant: str, session_id: str) -> RowMapping | None:
        """A session's container; None: it never had one."""
        mine = (_TABLE.c.tenant_id == tenant) & (_TABLE.c.id == session_id) & (_TABLE.c.container_type == "agent")
        async with self._engine.connect() as connection:
            return (await connection.execute(select(_TABLE).where(mine))).mappings().first()

    async def rules(self, tenant: str) -> RowMapping | None:
        """A team's rules; None: it has none of its own."""
        statement = select(sandbox_rules).where(sandbox_rules.c.tenant_id == tenant)
        async with self._engine.connect() as connection:
            return (await connection.execute(statement)).mappings().first()

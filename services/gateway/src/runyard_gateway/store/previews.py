"""Queries on previews and the links to them, and the one thing that is kept besides: which links were used up."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy import RowMapping, delete, select
from sqlalchemy.dialects.postgresql import insert

from runyard_chassis.database import Database
from runyard_gateway.previews.access import Seen
from runyard_gateway.projections.tables import preview_shares, preview_tickets, previews
from runyard_gateway.store.paging import Cut, Rows, newest_first, rows

_KEPT = timedelta(minutes=10)


class Previews:
    """Reads of one tenant at a time, but for the proxy, which is told whose a preview is."""

    def __init__(self, database: Database) -> None:
        self._engine = database.engine.execution_options(isolation_level="AUTOCOMMIT")

    async def all(self, tenant: str, cut: Cut, *, session_id: str | None, workspace_id: str | None) -> Rows:
        """A team's previews that are not deleted, newest first."""
        statement = select(previews).where(previews.c.tenant_id == tenant, previews.c.status != "deleted")
        if session_id is not None:
            statement = statement.where(previews.c.session_id == session_id)
        if workspace_id is not None:
            statement = statement.where(previews.c.workspace_id == workspace_id)
        async with self._engine.connect() as connection:
            found = (await connection.execute(newest_first(statement, previews.c.first_seq, cut))).mappings().all()
        return rows(found, cut, "first_seq")

    async def one(self, tenant: str, preview_id: str) -> RowMapping | None:
        """A preview, a deleted one too."""
        statement = select(previews).where(previews.c.tenant_id == tenant, previews.c.id == preview_id)
        async with self._engine.connect() as connection:
            return (await connection.execute(statement)).mappings().first()

    async def shares(self, tenant: str, preview_id: str, share_id: str | None = None) -> Sequence[RowMapping]:
        """The links to a preview, newest first."""
        statement = select(preview_shares).where(
            preview_shares.c.tenant_id == tenant, preview_shares.c.preview_id == preview_id
        )
        if share_id is not None:
            statement = statement.where(preview_shares.c.id == share_id)
        async with self._engine.connect() as connection:
            found = await connection.execute(statement.order_by(preview_shares.c.created_seq.desc()).limit(200))
            return found.mappings().all()

    async def seen(self, preview_id: str) -> Seen | None:
        """A preview as the proxy needs it, whosoever it is."""
        statement = select(previews).where(previews.c.id == preview_id)
        async with self._engine.connect() as connection:
            row = (await connection.execute(statement)).mappings().first()
        if row is None:
            return None
        return Seen(
            id=row["id"],
            tenant=row["tenant_id"],
            status=row["status"],
            port=row["port"],
            address=row["address"],
            framework=row["name"],
            message=row["message"],
            log_tail=tuple(row["log_tail"]),
        )

    async def share_expiry(self, preview_id: str, share_id: str) -> datetime | None:
        """Until when a link opens a preview; None: it does not, or not any more."""
        statement = select(preview_shares.c.expires_at).where(
            preview_shares.c.id == share_id,
            preview_shares.c.preview_id == preview_id,
            preview_shares.c.revoked_at.is_(None),
        )
        async with self._engine.connect() as connection:
            return await connection.scalar(statement)

    async def use_ticket(self, ticket: str, expires: datetime) -> bool:
        """Uses a link that opens once; False when it has been used, here or at another replica."""
        used = insert(preview_tickets).values(id=ticket, expires_at=expires)
        used = used.on_conflict_do_nothing().returning(preview_tickets.c.id)
        async with self._engine.connect() as connection:
            is_first = await connection.scalar(used) is not None
            await connection.execute(delete(preview_tickets).where(preview_tickets.c.expires_at < _long_ago()))
        return is_first


def _long_ago() -> datetime:
    return datetime.now(UTC) - _KEPT

"""Previews as rows: how they follow the log, and what decisions read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any

from sqlalchemy import and_, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from runyard_chassis import Database
from runyard_events import StoredEvent
from runyard_orchestrator.domain.preview import ACTIVE, Preview, Share, evolve
from runyard_orchestrator.store.following import by_key, fact_of, load
from runyard_orchestrator.store.preview_tables import previews
from runyard_orchestrator.store.rows import rules_of
from runyard_orchestrator.store.tables import container_environments, sessions, team_rules

PREVIEW_EVENTS = "ev.*.preview.*.lifecycle"
_FIELDS = tuple(field.name for field in fields(Preview))
_LISTED = {"requested": "creating", "prepared": "creating", "starting": "creating", "ready": "running"} | {
    "failed": "error"
}


@dataclass(frozen=True, slots=True, order=True)
class PreviewKey:
    """A preview and whose it is."""

    tenant_id: str
    preview_id: str


async def apply_previews(db: AsyncSession, batch: Sequence[StoredEvent]) -> None:
    """Rows of `previews` and of all containers from `ev.*.preview.*.lifecycle`."""
    facts = by_key(batch, lambda one: (one.address.tenant_id, one.address.aggregate_id))
    known = await load(db, previews, ("tenant_id", "id"), facts)
    for key, about in sorted(facts.items()):
        preview = preview_of(known[key]) if key in known else Preview()
        for stored in about:
            fact = fact_of(stored)
            if fact is None:
                # Its place counts all the same: the next append must expect it there.
                preview = replace(preview, stream_seq=max(preview.stream_seq, stored.stream_seq))
            else:
                preview = evolve(preview, fact)
        await _write(db, previews, {"tenant_id": key[0], "id": key[1], **_values(preview)})
        await _write(db, container_environments, _environment(PreviewKey(*key), preview))


def preview_of(row: Mapping[str, Any]) -> Preview:
    """A preview from its columns."""
    values: dict[str, Any] = {name: row[name] for name in _FIELDS}
    shares: dict[str, dict[str, Any]] = values["shares"]
    values["shares"] = {
        name: Share(datetime.fromisoformat(one["expires_at"]), one["revoked"]) for name, one in shares.items()
    }
    return Preview(**values)


class PreviewRows:
    """The orchestrator's rows of previews, for reading."""

    def __init__(self, database: Database) -> None:
        self._engine = database.engine.execution_options(isolation_level="AUTOCOMMIT")

    async def preview(self, key: PreviewKey) -> Preview:
        """A preview, an absent one when it is not known."""
        found = await self._all(
            select(previews).where(previews.c.tenant_id == key.tenant_id, previews.c.id == key.preview_id)
        )
        return preview_of(found[0]) if found else Preview()

    async def to_be_looked_after(self, limit: int, since: datetime) -> list[PreviewKey]:
        """Those in use, and those that were lost or deleted lately: something may still be there of them."""
        recent = and_(previews.c.status.in_(("deleted", "failed")), previews.c.changed_at > since)
        went_down = and_(previews.c.status == "stopped", previews.c.reason == "shutdown")
        statement = select(previews.c.tenant_id, previews.c.id)
        statement = statement.where(or_(previews.c.status.in_(sorted(ACTIVE)), recent, went_down))
        # Those in use first: of what is over there may be more than are looked at.
        found = await self._all(statement.order_by(recent, previews.c.stream_seq).limit(limit))
        return [PreviewKey(row["tenant_id"], row["id"]) for row in found]

    async def ports(self) -> frozenset[int]:
        """The ports of previews that run."""
        statement = select(previews.c.port).where(previews.c.status.in_(("starting", "ready")))
        return frozenset(row["port"] for row in await self._all(statement) if row["port"] is not None)

    async def session(self, tenant: str, session_id: str) -> Mapping[str, Any] | None:
        """Status and workspace of a session."""
        statement = select(sessions.c.status, sessions.c.workspace_id)
        found = await self._all(statement.where(sessions.c.tenant_id == tenant, sessions.c.id == session_id))
        return found[0] if found else None

    async def rules(self, tenant: str) -> Any:
        """What a team has decided about sandboxes."""
        found = await self._all(select(team_rules.c.rules).where(team_rules.c.tenant_id == tenant))
        return rules_of(found[0]["rules"]) if found else None

    async def _all(self, statement: Any) -> Sequence[Mapping[str, Any]]:
        async with self._engine.connect() as db:
            return [dict(row) for row in (await db.execute(statement)).mappings()]


def _values(preview: Preview) -> dict[str, Any]:
    shares = {
        name: {"expires_at": one.expires_at.isoformat(), "revoked": one.revoked} for name, one in preview.shares.items()
    }
    return {**{name: getattr(preview, name) for name in _FIELDS}, "shares": shares}


def _environment(key: PreviewKey, preview: Preview) -> dict[str, Any]:
    """The row of a preview among all containers."""
    about = {
        "workspace_id": preview.workspace_id,
        "session_id": preview.session_id,
        "method": preview.method,
        "epoch": preview.generation,
        "reason": preview.reason,
        "message": preview.message,
    }
    return {
        "id": key.preview_id,
        "team_id": key.tenant_id,
        "container_type": "preview",
        "container_name": preview.container_name,
        "status": _LISTED.get(preview.status, preview.status),
        "port": preview.port,
        "created_at": preview.created_at,
        "updated_at": preview.changed_at,
        "metadata": about,
    }


async def _write(db: AsyncSession, table: Any, row: Mapping[str, Any]) -> None:
    keys = [column.name for column in table.primary_key]
    statement = insert(table).values(**row)
    changed = {name: statement.excluded[name] for name in row if name not in keys}
    await db.execute(statement.on_conflict_do_update(index_elements=keys, set_=changed))

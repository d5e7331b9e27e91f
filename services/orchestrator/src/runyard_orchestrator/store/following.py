"""How the tables follow the log: load what a batch is about, evolve, write back.

Three projections with one filter each, because a service's NATS user may read the log through exactly
the filters that its permissions name. They run side by side, so a session's rows and its runs' rows may
be at different places; the domain is made for that (a run that is not known yet counts as running).
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import structlog
from sqlalchemy import Table, select, tuple_
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.ext.asyncio import AsyncSession

from runyard_events import Malformed, StoredEvent
from runyard_events.catalogue import RunRequested, WorktreeFailed, WorktreeOpened, WorktreeRemoved
from runyard_orchestrator.domain import run as run_domain
from runyard_orchestrator.domain import session as session_domain
from runyard_orchestrator.domain.facts import Fact
from runyard_orchestrator.domain.run import Run
from runyard_orchestrator.domain.session import Session
from runyard_orchestrator.domain.state import Worktree
from runyard_orchestrator.store import rows, tables

logger = structlog.get_logger(__name__)

Key = tuple[str, ...]
Apply = Callable[[AsyncSession, Sequence[StoredEvent]], Awaitable[None]]


def fact_of(stored: StoredEvent) -> Fact | None:
    """The event for the domain; None when its bytes are no event."""
    try:
        event = stored.event
    except Malformed as error:
        logger.warning("projection.malformed", seq=stored.stream_seq, error=str(error))
        return None
    return Fact(
        payload=event.payload,
        stream_seq=stored.stream_seq,
        at=event.at,
        source=event.source,
        source_seq=event.seq,
        cause=event.causation_id,
    )


async def apply_sessions(db: AsyncSession, batch: Sequence[StoredEvent]) -> None:
    """Rows of `sessions` from `ev.*.session.*.lifecycle`."""
    facts = by_key(batch, lambda one: (one.address.tenant_id, one.address.aggregate_id))
    known = await load(db, tables.sessions, ("tenant_id", "id"), facts)
    written: list[dict[str, Any]] = []
    for key, about in facts.items():
        session = rows.session_of(known[key]) if key in known else Session()
        for stored in about:
            fact = fact_of(stored)
            if fact is None:
                # Its place counts all the same: the next append must expect it there.
                session = replace(session, stream_seq=max(session.stream_seq, stored.stream_seq))
            else:
                session = session_domain.evolve(session, fact)
        written.append({"tenant_id": key[0], "id": key[1], **rows.session_values(session)})
    await write(db, tables.sessions, written)


async def apply_runs(db: AsyncSession, batch: Sequence[StoredEvent]) -> None:
    """Rows of `runs` from `ev.*.session.*.run.*.lifecycle`."""
    facts = by_key(batch, lambda one: (one.address.tenant_id, one.address.session_id or "", one.address.aggregate_id))
    known = await load(db, tables.runs, ("tenant_id", "session_id", "id"), facts)
    written: list[dict[str, Any]] = []
    for key, about in facts.items():
        run = rows.run_of(known[key]) if key in known else Run()
        prompt: str = known[key]["prompt"] if key in known else ""
        for stored in about:
            fact = fact_of(stored)
            if fact is None:
                run = replace(run, stream_seq=max(run.stream_seq, stored.stream_seq))
                continue
            if isinstance(fact.payload, RunRequested) and run.status == "absent":
                prompt = fact.payload.prompt
            run = run_domain.evolve(run, fact)
        keys = {"tenant_id": key[0], "session_id": key[1], "id": key[2]}
        written.append({**keys, "prompt": prompt, **rows.run_values(run)})
    await write(db, tables.runs, written)


async def apply_worktrees(db: AsyncSession, batch: Sequence[StoredEvent]) -> None:
    """Rows of `worktrees` from `ev.*.session.*.effect`."""
    newest: dict[Key, Worktree] = {}
    for stored in batch:
        fact = fact_of(stored)
        worktree = None if fact is None else _worktree(fact)
        if worktree is not None:
            newest[(stored.address.tenant_id, stored.address.aggregate_id)] = worktree
    written = [
        {"tenant_id": key[0], "session_id": key[1], **rows.worktree_values(worktree)}
        for key, worktree in newest.items()
    ]
    await write(db, tables.worktrees, written)


def _worktree(fact: Fact) -> Worktree | None:
    match fact.payload:
        case WorktreeOpened(path=path, branch=branch, base_commit=commit):
            return Worktree("opened", path=path, branch=branch, base_commit=commit, stream_seq=fact.stream_seq)
        case WorktreeFailed(reason=reason, message=message):
            return Worktree("failed", reason=reason, message=message, stream_seq=fact.stream_seq)
        case WorktreeRemoved():
            return Worktree("removed", stream_seq=fact.stream_seq)
        case _:
            return None


def by_key(batch: Sequence[StoredEvent], key_of: Callable[[StoredEvent], Key]) -> dict[Key, list[StoredEvent]]:
    """The events of a batch by what they are about."""
    facts: dict[Key, list[StoredEvent]] = {}
    for stored in batch:
        facts.setdefault(key_of(stored), []).append(stored)
    return facts


async def load(
    db: AsyncSession, table: Table, key_columns: tuple[str, ...], keys: Iterable[Key]
) -> dict[Key, Mapping[str, Any]]:
    """The rows of these keys, as far as they are there."""
    columns = [table.c[name] for name in key_columns]
    found = await db.execute(select(table).where(tuple_(*columns).in_(list(keys))))
    return {tuple(row[name] for name in key_columns): dict(row) for row in found.mappings()}


async def write(db: AsyncSession, table: Table, written: Sequence[Mapping[str, Any]]) -> None:
    """Inserts or replaces rows, whole."""
    if not written:
        return
    # Sorted, so that two replicas lock rows in the same order.
    keys = [column.name for column in table.primary_key]
    ordered = sorted((dict(row) for row in written), key=lambda row: tuple(row[name] for name in keys))
    await db.execute(_UPSERTS[table.name], ordered if len(ordered) > 1 else ordered[0])


def _upsert(table: Table) -> Insert:
    # Made once and given its values as parameters: SQLAlchemy compiles it once.
    statement = insert(table)
    keys = [column.name for column in table.primary_key]
    changed = {column.name: statement.excluded[column.name] for column in table.columns if column.name not in keys}
    return statement.on_conflict_do_update(index_elements=keys, set_=changed)


_UPSERTS = {table.name: _upsert(table) for table in tables.metadata.sorted_tables if table is not tables.checkpoints}

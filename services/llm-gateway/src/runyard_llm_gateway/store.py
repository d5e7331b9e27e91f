"""The usage table: a projection of the `llm` family, one row per call."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Float,
    Index,
    Integer,
    MetaData,
    Numeric,
    Select,
    String,
    Table,
    Text,
    func,
    select,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from runyard_events import StoredEvent, checkpoint_table
from runyard_events.catalogue import LlmCallCompleted

SUBJECT = "ev.*.session.*.run.*.llm"
PROJECTION = "llm-usage"
Chosen = TypeVar("Chosen", bound=Select[*tuple[Any, ...]])

metadata = MetaData()
checkpoints = checkpoint_table(metadata)
calls = Table(
    "llm_calls",
    metadata,
    Column("event_id", String(36), primary_key=True),
    Column("stream_seq", BigInteger, nullable=False, unique=True),
    Column("tenant_id", String(128), nullable=False),
    Column("session_id", String(128), nullable=False),
    Column("run_id", String(128), nullable=False),
    Column("at", DateTime(timezone=True), nullable=False),
    Column("call_id", String(36), nullable=False),
    Column("api", String(32), nullable=False),
    Column("provider", String(64), nullable=False),
    Column("model", Text, nullable=False),
    Column("status", String(16), nullable=False),
    Column("http_status", Integer),
    Column("error", Text),
    Column("streamed", Boolean, nullable=False),
    Column("scripted", Boolean, nullable=False),
    Column("input_tokens", BigInteger),
    Column("output_tokens", BigInteger),
    Column("cached_input_tokens", BigInteger),
    Column("cache_write_tokens", BigInteger),
    Column("reasoning_tokens", BigInteger),
    Column("cost_usd", Numeric(18, 9)),
    Column("priced", Boolean, nullable=False),
    Column("latency_ms", Float, nullable=False),
    Column("first_token_ms", Float),
    Index("ix_llm_calls_tenant_seq", "tenant_id", "stream_seq"),
    Index("ix_llm_calls_tenant_run", "tenant_id", "run_id"),
    Index("ix_llm_calls_tenant_session", "tenant_id", "session_id"),
)


@dataclass(frozen=True, slots=True)
class UsageFilter:
    """Which calls: always of one tenant."""

    tenant: str
    run: str | None = None
    session: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over all calls that a filter selects."""

    count: int
    input_tokens: int
    output_tokens: int
    cost_usd: float
    unpriced: int


async def apply(session: AsyncSession, events: Sequence[StoredEvent]) -> None:
    """Writes the rows of a batch; an event that comes again changes nothing."""
    rows = [row for stored in events if (row := row_of(stored)) is not None]
    if rows:
        # rows as parameters of one prepared statement: as VALUES of one statement it would be compiled each time
        await session.execute(insert(calls).on_conflict_do_nothing(), rows)


def row_of(stored: StoredEvent) -> dict[str, Any] | None:
    """The row of an event; None for types that this projection does not know."""
    event = stored.event
    payload = event.payload
    if not isinstance(payload, LlmCallCompleted):
        return None
    return {
        "event_id": event.id,
        "stream_seq": stored.stream_seq,
        "tenant_id": event.tenant_id,
        "session_id": event.session_id,
        "run_id": event.run_id,
        "at": event.at,
        **payload.model_dump(by_alias=False),
    }


async def page(session: AsyncSession, wanted: UsageFilter, *, before: int | None, limit: int) -> list[dict[str, Any]]:
    """Calls, newest first, behind a cursor (the sequence of the last one seen)."""
    statement = _selected(select(calls), wanted).order_by(calls.c.stream_seq.desc()).limit(limit)
    if before is not None:
        statement = statement.where(calls.c.stream_seq < before)
    return [dict(row) for row in (await session.execute(statement)).mappings()]


async def totals(session: AsyncSession, wanted: UsageFilter) -> Totals:
    """Sums over everything selected, not only over a page."""
    column = calls.c
    statement = select(
        func.count().label("count"),
        func.coalesce(func.sum(column.input_tokens), 0).label("read"),
        func.coalesce(func.sum(column.output_tokens), 0).label("written"),
        func.coalesce(func.sum(column.cost_usd), 0).label("cost"),
        func.count().filter(column.priced.is_(False)).label("unpriced"),
    )
    sums = (await session.execute(_selected(statement, wanted))).mappings().one()
    return Totals(
        int(sums["count"]), int(sums["read"]), int(sums["written"]), float(sums["cost"]), int(sums["unpriced"])
    )


def _selected(statement: Chosen, wanted: UsageFilter) -> Chosen:
    column = calls.c
    statement = statement.where(column.tenant_id == wanted.tenant)
    if wanted.run is not None:
        statement = statement.where(column.run_id == wanted.run)
    if wanted.session is not None:
        statement = statement.where(column.session_id == wanted.session)
    if wanted.since is not None:
        statement = statement.where(column.at >= wanted.since)
    if wanted.until is not None:
        statement = statement.where(column.at < wanted.until)
    return statement

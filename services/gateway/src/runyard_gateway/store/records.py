"""Workspaces, sessions, runs, approvals and messages as the projections have them."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    Column,
    RowMapping,
    Table,
    Text,
    bindparam,
    cast,
    func,
    literal,
    null,
    select,
    tuple_,
    union_all,
)

from runyard_chassis.database import Database
from runyard_gateway.projections.tables import (
    approvals,
    container_environments,
    messages,
    run_events,
    run_usage,
    runs,
    sessions,
    workspaces,
)
from runyard_gateway.store.paging import Cut, Query, Rows, newest_first, oldest_first, rows

_USAGE = (
    "calls",
    "failed_calls",
    "unpriced_calls",
    "scripted_calls",
    "input_tokens",
    "output_tokens",
    "cached_input_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "cost_usd",
)


class Records:
    """Reads of one tenant at a time. What another tenant has is not there."""

    def __init__(self, database: Database) -> None:
        # Single selects: no transaction around them, and no unit of work to keep.
        self._engine = database.engine.execution_options(isolation_level="AUTOCOMMIT")

    async def workspaces(self, tenant: str, cut: Cut) -> Rows:
        """All workspaces, newest first."""
        statement = newest_first(_of(workspaces, tenant), workspaces.c.created_seq, cut)
        return rows(await self._all(statement), cut, "created_seq")

    async def workspace(self, tenant: str, workspace_id: str) -> RowMapping | None:
        """One workspace."""
        return await self._one(_WORKSPACE, tenant=tenant, id=workspace_id)

    async def workspace_from(self, tenant: str, source_uris: Sequence[str]) -> RowMapping | None:
        """The newest workspace that was imported from one of these addresses and can be worked on."""
        mine = (workspaces.c.source_uri.in_(source_uris)) & (workspaces.c.status == "ready")
        return await self._one(_of(workspaces, tenant).where(mine).order_by(workspaces.c.created_seq.desc()).limit(1))

    async def sessions(self, tenant: str, cut: Cut, workspace_id: str | None = None) -> Rows:
        """Sessions that are not deleted, newest first."""
        statement = _SESSIONS.where(sessions.c.tenant_id == tenant, sessions.c.status != "deleted")
        if workspace_id is not None:
            statement = statement.where(sessions.c.workspace_id == workspace_id)
        return rows(await self._all(newest_first(statement, sessions.c.first_seq, cut)), cut, "first_seq")

    async def session(self, tenant: str, session_id: str) -> RowMapping | None:
        """One session, a deleted one too."""
        return await self._one(_SESSION, tenant=tenant, id=session_id)

    async def messages(self, tenant: str, session_id: str, cut: Cut) -> Rows:
        """What was said in a session, run after run in the order of the queue."""
        # A run that waits in the queue has its prompt in the log before the answers of the runs ahead of it.
        place = tuple_(runs.c.first_seq, messages.c.id)
        told = messages.join(runs, runs.c.id == messages.c.run_id)
        statement = (
            select(messages)
            .select_from(told)
            .where(messages.c.tenant_id == tenant, messages.c.session_id == session_id)
            .order_by(place)
            .limit(cut.limit + 1)
        )
        if cut.after is not None:
            seen = select(runs.c.first_seq, messages.c.id).select_from(told).where(messages.c.id == cut.after)
            statement = statement.where(place > seen.scalar_subquery())
        return rows(await self._all(statement), cut, "id")

    async def runs(self, tenant: str, cut: Cut, session_id: str | None = None, status: str | None = None) -> Rows:
        """Runs with usage and queue position, newest first."""
        statement = _RUNS
        if session_id is not None:
            statement = statement.where(runs.c.session_id == session_id)
        if status is not None:
            statement = statement.where(runs.c.status == status)
        page = newest_first(statement, runs.c.first_seq, cut)
        return rows(await self._all(page, tenant=tenant), cut, "first_seq")

    async def run(self, tenant: str, run_id: str) -> RowMapping | None:
        """One run with usage and queue position."""
        return await self._one(_RUN, tenant=tenant, id=run_id)

    async def run_place(self, tenant: str, run_id: str) -> RowMapping | None:
        """Where a run stands in the log: session_id, first_seq."""
        return await self._one(_PLACE, tenant=tenant, id=run_id)

    async def usage(self, tenant: str, run_id: str) -> Sequence[RowMapping]:
        """A run's usage by provider and model."""
        statement = _of(run_usage, tenant).where(run_usage.c.run_id == run_id)
        return await self._all(statement.order_by(run_usage.c.provider, run_usage.c.model))

    async def approvals(self, tenant: str, run_id: str, approval_id: str | None = None) -> Sequence[RowMapping]:
        """What a run asked, oldest first."""
        statement = _of(approvals, tenant).where(approvals.c.run_id == run_id)
        if approval_id is not None:
            statement = statement.where(approvals.c.id == approval_id)
        return await self._all(statement.order_by(approvals.c.requested_seq))

    async def archived(self, tenant: str, run_id: str, cut: Cut) -> Rows:
        """A run's archived events, oldest first: id, and raw_json as text."""
        statement = (
            select(run_events.c.id, cast(run_events.c.raw_json, Text).label("raw_json"))
            .where(run_events.c.tenant_id == tenant)
            .where(run_events.c.run_id == run_id)
        )
        return rows(await self._all(oldest_first(statement, run_events.c.id, cut)), cut, "id")

    async def counts(self, tenant: str) -> RowMapping:
        """Numbers for the dashboard."""
        today = func.date_trunc("day", func.now(), "UTC")
        mine = runs.c.tenant_id == tenant
        statement = select(
            _count(workspaces, workspaces.c.tenant_id == tenant, workspaces.c.status != "failed").label(
                "workspaces_count"
            ),
            _count(sessions, sessions.c.tenant_id == tenant, sessions.c.status != "deleted").label("sessions_count"),
            _count(runs, mine, runs.c.created_at >= today).label("runs_today"),
            _count(runs, mine).label("runs_total"),
        )
        found = await self._one(statement)
        if found is None:
            raise LookupError("a query of counts has one row")
        return found

    async def activity(self, tenant: str, limit: int) -> Sequence[RowMapping]:
        """The newest imports, sessions and runs together."""
        recent = [_recent_runs(tenant, limit), _recent_sessions(tenant, limit), _recent_imports(tenant, limit)]
        merged = union_all(*(select(one.subquery()) for one in recent)).subquery()
        return await self._all(select(merged).order_by(merged.c.seq.desc()).limit(limit))

    async def _all(self, statement: Query, **values: Any) -> Sequence[RowMapping]:
        async with self._engine.connect() as connection:
            return (await connection.execute(statement, values)).mappings().all()

    async def _one(self, statement: Query, **values: Any) -> RowMapping | None:
        async with self._engine.connect() as connection:
            return (await connection.execute(statement, values)).mappings().first()


def _of(table: Table, tenant: str) -> Query:
    return select(table).where(table.c.tenant_id == tenant)


def _count(table: Table, *conditions: Any) -> Any:
    return select(func.count()).select_from(table).where(*conditions).scalar_subquery()


def _runs() -> Query:
    """Runs of a tenant with their sums; put together once, for that takes longer than the query itself."""
    ahead = runs.alias("ahead")
    position = (
        select(func.count())
        .where(
            ahead.c.session_id == runs.c.session_id,
            ahead.c.status == "queued",
            ahead.c.first_seq < runs.c.first_seq,
        )
        .scalar_subquery()
    )
    sums = (
        select(run_usage.c.run_id, *(func.sum(run_usage.c[name]).label(name) for name in _USAGE))
        .where(run_usage.c.run_id == runs.c.id)
        .group_by(run_usage.c.run_id)
        .lateral("sums")
    )
    asked = select(func.count()).where(approvals.c.run_id == runs.c.id, approvals.c.status == "open").scalar_subquery()
    return (
        select(
            runs,
            position.label("ahead"),
            asked.label("open_approvals"),
            *(func.coalesce(sums.c[name], 0).label(name) for name in _USAGE),
        )
        .select_from(runs.outerjoin(sums, sums.c.run_id == runs.c.id))
        .where(runs.c.tenant_id == bindparam("tenant"))
    )


def _recent_runs(tenant: str, limit: int) -> Query:
    statement = _recent("run", runs, runs.c.first_seq, runs.c.runner_type, func.left(runs.c.prompt, 200))
    statement = statement.select_from(runs.outerjoin(workspaces, workspaces.c.id == runs.c.workspace_id))
    return statement.where(runs.c.tenant_id == tenant).order_by(runs.c.first_seq.desc()).limit(limit)


def _recent_sessions(tenant: str, limit: int) -> Query:
    statement = _recent("session", sessions, sessions.c.first_seq, sessions.c.runner_type, null())
    statement = statement.select_from(sessions.outerjoin(workspaces, workspaces.c.id == sessions.c.workspace_id))
    return statement.where(sessions.c.tenant_id == tenant).order_by(sessions.c.first_seq.desc()).limit(limit)


def _recent_imports(tenant: str, limit: int) -> Query:
    statement = _recent("workspace", workspaces, workspaces.c.created_seq, null(), null())
    return statement.where(workspaces.c.tenant_id == tenant).order_by(workspaces.c.created_seq.desc()).limit(limit)


def _recent(kind: str, table: Table, place: Column[Any], runner_type: Any, preview: Any) -> Query:
    return select(
        literal(kind).label("type"),
        table.c.status.label("status"),
        workspaces.c.display_name.label("workspace_name"),
        cast(runner_type, Text).label("runner_type"),
        cast(preview, Text).label("prompt_preview"),
        table.c.created_at.label("created_at"),
        place.label("seq"),
    )


def _by_id(statement: Query, table: Table) -> Query:
    return statement.where(table.c.id == bindparam("id"))


def _mine(table: Table) -> Query:
    return select(table).where(table.c.tenant_id == bindparam("tenant"))


def _sessions() -> Query:
    """Sessions with the status of their containers, null for those that have none."""
    container = container_environments.c
    status = select(container.status).where(container.id == sessions.c.id).scalar_subquery()
    return select(sessions, status.label("container_status"))


_SESSIONS = _sessions()
_RUNS = _runs()
_RUN = _by_id(_RUNS, runs)
_WORKSPACE = _by_id(_mine(workspaces), workspaces)
_SESSION = _by_id(_SESSIONS.where(sessions.c.tenant_id == bindparam("tenant")), sessions)
_PLACE = _by_id(_mine(runs).with_only_columns(runs.c.session_id, runs.c.first_seq), runs)

"""What decisions read: one query for a session with everything that is open in it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Executable, Select, String, and_, bindparam, exists, or_, select
from sqlalchemy.engine import RowMapping

from runyard_chassis import Database
from runyard_orchestrator.domain.run import Run
from runyard_orchestrator.domain.session import Session
from runyard_orchestrator.domain.state import State, Worktree
from runyard_orchestrator.store import rows
from runyard_orchestrator.store.tables import runs, sessions, team_rules, worktrees


@dataclass(frozen=True, slots=True, order=True)
class SessionKey:
    """A session and whose it is."""

    tenant_id: str
    session_id: str


@dataclass(frozen=True, slots=True)
class OpenRun:
    """A run that somebody should be working on."""

    key: SessionKey
    run_id: str
    run: Run


_SESSION = [sessions.c[name].label(f"s_{name}") for name in rows.SESSION_FIELDS]
_RUN = [runs.c[name].label(f"r_{name}") for name in rows.RUN_FIELDS]
_WORKTREE = [worktrees.c[name].label(f"w_{name}") for name in rows.WORKTREE_FIELDS]
_earlier = runs.alias("earlier")
_NATIVE_THREAD = (
    select(_earlier.c.native_thread_id)
    .where(
        _earlier.c.tenant_id == sessions.c.tenant_id,
        _earlier.c.session_id == sessions.c.id,
        _earlier.c.native_thread_id.is_not(None),
        # One that began in a container has its thread there, in files that nothing outside ever reads.
        _earlier.c.method == "process",
    )
    .order_by(_earlier.c.first_seq.desc())
    .limit(1)
    .scalar_subquery()
    .label("native_thread_id")
)
# Made once: SQLAlchemy takes longer to recognise a statement of this size than PostgreSQL to answer it.
_STATE = (
    select(*_SESSION, *_WORKTREE, *_RUN, runs.c.id.label("known_run_id"), _NATIVE_THREAD, team_rules.c.rules)
    .select_from(sessions)
    .outerjoin(
        runs,
        and_(
            runs.c.tenant_id == sessions.c.tenant_id,
            runs.c.session_id == sessions.c.id,
            or_(
                runs.c.completed_at.is_(None),
                runs.c.id == sessions.c.active_run_id,
                runs.c.id == sessions.c.queue[0].astext,
                runs.c.id == bindparam("run_id", type_=String),
            ),
        ),
    )
    .outerjoin(
        worktrees,
        and_(worktrees.c.tenant_id == sessions.c.tenant_id, worktrees.c.session_id == sessions.c.id),
    )
    .outerjoin(team_rules, team_rules.c.tenant_id == sessions.c.tenant_id)
    .where(
        sessions.c.tenant_id == bindparam("tenant_id", type_=String),
        sessions.c.id == bindparam("session_id", type_=String),
    )
)


class Rows:
    """The orchestrator's rows, for reading."""

    def __init__(self, database: Database) -> None:
        # Single statements need no transaction: without one a read is one round trip.
        self._engine = database.engine.execution_options(isolation_level="AUTOCOMMIT")

    async def state(self, key: SessionKey, run_id: str | None = None) -> State:
        """A session's state; `run_id` is a run to be looked up even if it ended long ago."""
        values = {"tenant_id": key.tenant_id, "session_id": key.session_id, "run_id": run_id}
        return _state(await self._all(_STATE, values))

    async def prompt(self, key: SessionKey, run_id: str) -> str | None:
        """The words that a run was asked with."""
        statement = select(runs.c.prompt).where(
            runs.c.tenant_id == key.tenant_id, runs.c.session_id == key.session_id, runs.c.id == run_id
        )
        async with self._engine.connect() as db:
            return await db.scalar(statement)

    async def runs_at_work(self, limit: int, *, after: int = 0) -> Sequence[OpenRun]:
        """Runs that were dispatched and have not ended, by the place of their last event, from one on."""
        statement = (
            select(runs)
            .where(runs.c.completed_at.is_(None), runs.c.dispatched_at.is_not(None), runs.c.stream_seq > after)
            .order_by(runs.c.stream_seq)
            .limit(limit)
        )
        return [
            OpenRun(SessionKey(row["tenant_id"], row["session_id"]), row["id"], rows.run_of(row))
            for row in await self._all(statement)
        ]

    async def creating(self, limit: int) -> Sequence[tuple[SessionKey, datetime]]:
        """Sessions that are being made, oldest first."""
        statement = (
            select(sessions.c.tenant_id, sessions.c.id, sessions.c.created_at)
            .where(sessions.c.status == "creating")
            .order_by(sessions.c.created_at)
            .limit(limit)
        )
        return [(SessionKey(row["tenant_id"], row["id"]), row["created_at"]) for row in await self._all(statement)]

    async def stalled(self, limit: int) -> Sequence[SessionKey]:
        """Ready sessions where a run waits for nobody, and closed ones that still hold something."""
        waiting = _keys(limit).where(
            sessions.c.status == "ready",
            exists().where(_of_session_open(), runs.c.status == "queued"),
            ~exists().where(_active_and_open(), runs.c.status != "queued"),
        )
        leftover = _keys(limit).where(
            sessions.c.status.in_(["deleted", "failed"]), or_(exists().where(_of_session_open()), _tree_open())
        )
        found = [*await self._all(waiting), *await self._all(leftover)]
        return [SessionKey(row["tenant_id"], row["id"]) for row in found]

    async def sessions_of(self, tenant: str, limit: int) -> Sequence[RowMapping]:
        """A tenant's sessions, newest first, as rows."""
        statement = select(sessions).where(sessions.c.tenant_id == tenant)
        return await self._all(statement.order_by(sessions.c.created_at.desc()).limit(limit))

    async def runs_of(self, tenant: str, session_id: str | None, limit: int) -> Sequence[RowMapping]:
        """A tenant's runs, newest first, as rows."""
        statement = select(runs).where(runs.c.tenant_id == tenant)
        if session_id is not None:
            statement = statement.where(runs.c.session_id == session_id)
        return await self._all(statement.order_by(runs.c.first_seq.desc()).limit(limit))

    async def _all(self, statement: Executable, values: Mapping[str, Any] | None = None) -> Sequence[RowMapping]:
        async with self._engine.connect() as db:
            return (await db.execute(statement, values)).mappings().all()


def _keys(limit: int) -> Select[*tuple[Any, ...]]:
    return select(sessions.c.tenant_id, sessions.c.id).order_by(sessions.c.stream_seq).limit(limit)


def _of_session_open() -> ColumnElement[bool]:
    return and_(
        runs.c.tenant_id == sessions.c.tenant_id,
        runs.c.session_id == sessions.c.id,
        runs.c.completed_at.is_(None),
    )


def _active_and_open() -> ColumnElement[bool]:
    return and_(_of_session_open(), runs.c.id == sessions.c.active_run_id)


def _tree_open() -> ColumnElement[bool]:
    return exists().where(
        worktrees.c.tenant_id == sessions.c.tenant_id,
        worktrees.c.session_id == sessions.c.id,
        worktrees.c.status == "opened",
    )


def _state(found: Sequence[RowMapping]) -> State:
    if not found:
        return State()
    first = found[0]
    return State(
        session=_part(first, "s_", rows.SESSION_FIELDS, rows.session_of),
        runs={
            row["known_run_id"]: _part(row, "r_", rows.RUN_FIELDS, rows.run_of)
            for row in found
            if row["known_run_id"] is not None
        },
        worktree=_part(first, "w_", rows.WORKTREE_FIELDS, rows.worktree_of) if first["w_status"] else None,
        native_thread_id=first["native_thread_id"],
        rules=rows.rules_of(first["rules"]),
    )


def _part(row: RowMapping, prefix: str, names: Sequence[str], build: Any) -> Any:
    return build({name: row[prefix + name] for name in names})


__all__ = ["OpenRun", "Rows", "Session", "SessionKey", "State", "Worktree"]

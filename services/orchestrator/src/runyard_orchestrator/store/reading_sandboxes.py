"""What decisions about sandboxes read."""

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Executable,
    String,
    and_,
    any_,
    bindparam,
    exists,
    func,
    or_,
    select,
    tuple_,
    union,
)
from sqlalchemy.engine import RowMapping

from runyard_chassis import Database
from runyard_events.catalogue import Method, SandboxRules
from runyard_orchestrator.domain.rules import OUR_CONTAINERS
from runyard_orchestrator.domain.sandbox import IN_USE, Sandbox
from runyard_orchestrator.store import rows
from runyard_orchestrator.store.preview_tables import previews
from runyard_orchestrator.store.reading import SessionKey
from runyard_orchestrator.store.tables import container_environments, runs, sandboxes, sessions, team_rules

_SANDBOX = select(*(sandboxes.c[name] for name in rows.SANDBOX_FIELDS)).where(
    sandboxes.c.tenant_id == bindparam("tenant_id", type_=String),
    sandboxes.c.session_id == bindparam("session_id", type_=String),
)
_HAS_HAD_A_RUN = exists().where(runs.c.tenant_id == sessions.c.tenant_id, runs.c.session_id == sessions.c.id)


class SandboxRows:
    """The rows of sandboxes and of teams' rules, for reading."""

    def __init__(self, database: Database) -> None:
        self._engine = database.engine.execution_options(isolation_level="AUTOCOMMIT")

    async def sandbox(self, key: SessionKey) -> Sandbox:
        """A session's sandbox, an absent one when it never had any."""
        found = await self._all(_SANDBOX, {"tenant_id": key.tenant_id, "session_id": key.session_id})
        return rows.sandbox_of(found[0]) if found else Sandbox()

    async def native_thread(self, key: SessionKey) -> str | None:
        """The agent's own thread as the session's latest run in a container knew it, if it is still there."""
        statement = (
            select(runs.c.native_thread_id)
            .outerjoin(
                sandboxes,
                and_(sandboxes.c.tenant_id == runs.c.tenant_id, sandboxes.c.session_id == runs.c.session_id),
            )
            .where(
                runs.c.tenant_id == key.tenant_id,
                runs.c.session_id == key.session_id,
                runs.c.native_thread_id.is_not(None),
                runs.c.method.in_(OUR_CONTAINERS),
                or_(sandboxes.c.forgotten_seq.is_(None), runs.c.first_seq > sandboxes.c.forgotten_seq),
            )
            .order_by(runs.c.first_seq.desc())
            .limit(1)
        )
        found = await self._all(statement)
        return found[0]["native_thread_id"] if found else None

    async def rules(self, tenant: str) -> SandboxRules | None:
        """What a team has decided."""
        found = await self._all(select(team_rules.c.rules).where(team_rules.c.tenant_id == tenant))
        return rows.rules_of(found[0]["rules"]) if found else None

    async def to_be_looked_after(self, limit: int) -> Sequence[SessionKey]:
        """Sessions whose sandbox is in use, is needed by a run, or is to go with its session."""
        in_use = select(sandboxes.c.tenant_id, sandboxes.c.session_id).where(sandboxes.c.status.in_(IN_USE))
        needed = select(runs.c.tenant_id, runs.c.session_id).where(
            runs.c.completed_at.is_(None), runs.c.dispatched_at.is_not(None), runs.c.method.in_(OUR_CONTAINERS)
        )
        leftover = select(sandboxes.c.tenant_id, sandboxes.c.session_id).where(
            sandboxes.c.status.not_in(["absent", "deleted"]),
            exists().where(
                sessions.c.tenant_id == sandboxes.c.tenant_id,
                sessions.c.id == sandboxes.c.session_id,
                sessions.c.status.in_(["deleted", "failed"]),
            ),
        )
        found = await self._all(union(in_use, needed, leftover).limit(limit))
        return [SessionKey(row["tenant_id"], row["session_id"]) for row in found]

    async def waiting_for_a_prompt(self, limit: int) -> Sequence[SessionKey]:
        """Sessions that have a container and have never had a run."""
        statement = (
            select(sandboxes.c.tenant_id, sandboxes.c.session_id)
            .join(
                sessions,
                and_(sessions.c.tenant_id == sandboxes.c.tenant_id, sessions.c.id == sandboxes.c.session_id),
            )
            .where(
                sandboxes.c.status.in_(IN_USE),
                sandboxes.c.purpose == "pool",
                sessions.c.status == "ready",
                ~_HAS_HAD_A_RUN,
            )
            .limit(limit)
        )
        return [SessionKey(row["tenant_id"], row["session_id"]) for row in await self._all(statement)]

    async def never_begun(self, limit: int) -> Sequence[SessionKey]:
        """The newest sessions that have had neither a container nor a run."""
        statement = (
            select(sessions.c.tenant_id, sessions.c.id)
            .where(
                sessions.c.status == "ready",
                ~_HAS_HAD_A_RUN,
                ~exists().where(
                    sandboxes.c.tenant_id == sessions.c.tenant_id,
                    sandboxes.c.session_id == sessions.c.id,
                    sandboxes.c.status != "absent",
                ),
            )
            .order_by(sessions.c.created_at.desc())
            .limit(limit)
        )
        return [SessionKey(row["tenant_id"], row["id"]) for row in await self._all(statement)]

    async def has_had(self, method: Method) -> bool:
        """Whether any session or preview has ever had a container of this kind."""
        found = [select(one.c.tenant_id).where(one.c.method == method).limit(1) for one in (sandboxes, previews)]
        return any([await self._all(statement) for statement in found])

    async def epochs(self, keys: Collection[SessionKey]) -> dict[SessionKey, int]:
        """Those of these sessions that there are, each with the number of its latest container."""
        if not keys:
            return {}
        statement = (
            select(sessions.c.tenant_id, sessions.c.id, func.coalesce(sandboxes.c.epoch, 0).label("epoch"))
            .outerjoin(sandboxes, _sandbox_of_session())
            .where(tuple_(sessions.c.tenant_id, sessions.c.id).in_([(key.tenant_id, key.session_id) for key in keys]))
        )
        return {SessionKey(row["tenant_id"], row["id"]): row["epoch"] for row in await self._all(statement)}

    async def forgettable(self, session_ids: Sequence[str]) -> Sequence[SessionKey]:
        """Those of these sessions that have ended, or whose sandbox was deleted: nothing of theirs is to be kept."""
        statement = (
            select(sessions.c.tenant_id, sessions.c.id)
            .outerjoin(sandboxes, _sandbox_of_session())
            .where(
                # As one array: however many have a folder, they are one parameter.
                sessions.c.id == any_(bindparam("ids", type_=ARRAY(String))),
                or_(sessions.c.status.in_(["deleted", "failed"]), sandboxes.c.status == "deleted"),
            )
        )
        found = await self._all(statement, {"ids": list(session_ids)}) if session_ids else ()
        return [SessionKey(row["tenant_id"], row["id"]) for row in found]

    async def environments(self, tenant: str, limit: int) -> Sequence[RowMapping]:
        """A team's containers, the latest changed first."""
        columns = container_environments.c
        statement = select(container_environments).where(columns.team_id == tenant)
        return await self._all(statement.order_by(columns.updated_at.desc()).limit(limit))

    async def _all(self, statement: Executable, values: dict[str, Any] | None = None) -> Sequence[RowMapping]:
        async with self._engine.connect() as db:
            return (await db.execute(statement, values)).mappings().all()


def _sandbox_of_session() -> ColumnElement[bool]:
    return and_(sandboxes.c.tenant_id == sessions.c.tenant_id, sandboxes.c.session_id == sessions.c.id)

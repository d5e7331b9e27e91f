"""Reads of the rows that know how far the log is: a thing that was just made is found."""

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

from sqlalchemy.ext.asyncio import AsyncSession

from runyard_chassis import Database, NotFound
from runyard_events import EventLog, Projector, Scope
from runyard_events.subjects import run_subject, session_subject
from runyard_workspace.store import (
    RunCheckpoint,
    StoredCredential,
    Worktree,
    find_checkpoint,
    find_worktree,
    list_credentials,
    newest_checkpoint,
)

WAIT_SECONDS = 3.0
T = TypeVar("T")


def removed() -> NotFound:
    """What is said of the files of a session that has none any more."""
    return NotFound("The session was deleted and its files with it.", type="worktree-removed")


class Views:
    """A tenant's worktrees and checkpoints."""

    def __init__(self, database: Database, log: EventLog, projectors: Mapping[str, Projector]) -> None:
        self._database = database
        self._log = log
        self._projectors = projectors

    async def worktree(self, tenant: str, session: str) -> Worktree:
        """The worktree of a session.

        Raises:
            NotFound: the tenant has no such session, or it has no files.
        """
        subject = session_subject(tenant, session, "effect")
        found = await self._look("worktrees", subject, lambda db: find_worktree(db, tenant, session))
        if found is None or found.status == "failed":
            raise NotFound("There is no such session, or it has no files.", type="session-not-found")
        return found

    async def open_worktree(self, tenant: str, session: str) -> Worktree:
        """The worktree of a session that still has it.

        Raises:
            NotFound: see `worktree`, or the worktree was removed.
        """
        found = await self.worktree(tenant, session)
        if found.status != "opened":
            raise removed()
        return found

    async def checkpoint(self, tenant: str, run: str, session: str | None = None) -> RunCheckpoint | None:
        """What became of the files of a run; None when nothing has yet."""
        subject = run_subject(tenant, session or "*", run, "effect")
        return await self._look("checkpoints", subject, lambda db: find_checkpoint(db, tenant, run))

    async def newest_checkpoint(self, tenant: str, session: str) -> RunCheckpoint | None:
        """The checkpoint that was made last in a session."""
        async with self._database.session() as db:
            return await newest_checkpoint(db, tenant, session)

    async def credentials(self, tenant: str) -> list[StoredCredential]:
        """A team's credentials, those set just now included."""
        last = await self._log.last(Scope.team(tenant).subject("effect"))
        if last is not None:
            await self._projectors["credentials"].reached(last.stream_seq, timeout=WAIT_SECONDS)
        async with self._database.session() as db:
            return await list_credentials(db, tenant)

    async def _look(self, table: str, subject: str, query: Callable[[AsyncSession], Awaitable[T | None]]) -> T | None:
        async with self._database.session() as db:
            found = await query(db)
        if found is not None:
            return found
        # Not there: is it in the log, and only the rows are behind?
        last = await self._log.last(subject)
        if last is None or not await self._projectors[table].reached(last.stream_seq, timeout=WAIT_SECONDS):
            return None
        async with self._database.session() as db:
            return await query(db)

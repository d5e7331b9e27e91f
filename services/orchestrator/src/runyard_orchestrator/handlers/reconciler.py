"""The reconciler: from time to time looks whether what was decided is also what happens.

It ends runs that nobody works on any more, repeats errands that led to nothing and moves sessions that
stand still. One replica at a time does it; whatever it decides is guarded by the log like every decision.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import structlog
from nats.aio.client import Client

from runyard_chassis import Problem
from runyard_events import Leases, LogUnavailable, derived_id
from runyard_events.catalogue import SessionFailed
from runyard_events.database import DATABASE_FAULTS
from runyard_orchestrator.adapters.leadership import Leadership
from runyard_orchestrator.adapters.ledger import Cause
from runyard_orchestrator.domain.facts import Decision, Planned
from runyard_orchestrator.domain.owed import Errand, OpenTree, Start
from runyard_orchestrator.domain.repair import Absences, Patience, resend_number, verdict
from runyard_orchestrator.domain.rules import OUR_CONTAINERS
from runyard_orchestrator.domain.run import Run
from runyard_orchestrator.domain.state import State
from runyard_orchestrator.handlers.desk import Desk
from runyard_orchestrator.store.reading import OpenRun, SessionKey

logger = structlog.get_logger(__name__)

_AT_ONCE = 500
_REMEMBERED = 10_000
_AWAY = (LogUnavailable, *DATABASE_FAULTS)


@dataclass(slots=True)
class Reconciler:
    """One pass every `every_seconds`."""

    client: Client
    desk: Desk
    leases: Leases
    leadership: Leadership
    patience: Patience
    every_seconds: float
    ended: Callable[[str], None] = field(default=lambda _: None)
    """Told the type of each event that ended a run."""
    _absences: Absences = field(default_factory=Absences)
    _sent: dict[str, int] = field(default_factory=dict[str, int])
    _connections: int = -1
    _cursor: int = 0

    async def run(self) -> None:
        """Passes until cancelled."""
        try:
            while True:
                await asyncio.sleep(self.every_seconds)
                try:
                    await self.once()
                except _AWAY as error:
                    self._absences.forget()
                    logger.warning("reconciler.waiting", error=str(error) or type(error).__name__)
        finally:
            await self.leadership.give_up()

    async def once(self) -> None:
        """One pass, if this process leads.

        Raises:
            LogUnavailable, one of DATABASE_FAULTS: something is away; nothing is concluded from what could not be seen.
        """
        if not await self.leadership.held():
            self._absences.forget()
            return
        if self.client.stats["reconnects"] != self._connections:
            self._connections = self.client.stats["reconnects"]
            self._absences.forget()
        await self._runs()
        for key, since in await self.desk.rows.creating(_AT_ONCE):
            await self._safely(key, self._creating(key, since))
        for key in await self.desk.rows.stalled(_AT_ONCE):
            await self._safely(key, self.desk.follow_up(key, _cause(key), is_due=self._due))

    async def _runs(self) -> None:
        found = await self.desk.rows.runs_at_work(_AT_ONCE, after=self._cursor)
        self._cursor = found[-1].run.stream_seq if len(found) == _AT_ONCE else 0
        if len(found) < _AT_ONCE:
            self._absences.keep_only({one.run_id for one in found})
        for one in found:
            await self._safely(one.key, self._see_to(one))

    async def _see_to(self, one: OpenRun) -> None:
        held = await self.leases.holder(lease_key(one.key.session_id, one.run_id, one.run)) is not None
        await self.look_at(one, self._absences.observe(one.run_id, held=held, now=time.monotonic()))

    async def look_at(self, one: OpenRun, absent: float | None) -> None:
        """Ends one run if it will not end by itself, offers it again if nobody has taken it."""

        def decide(state: State) -> Decision:
            run = state.run(one.run_id)
            if run.stream_seq != one.run.stream_seq:
                # Something has happened to it since its lease was looked for: that look says nothing now.
                return ()
            ending = verdict(run, now=datetime.now(UTC), absent_seconds=absent, patience=self.patience)
            return tuple(Planned(payload, one.run_id) for payload in ending)

        if decide(State(runs={one.run_id: one.run})):
            outcome = await self.desk.carry_out(one.key, decide, _cause(one.key, one.run_id), run_id=one.run_id)
            for event_type in outcome.types:
                self.ended(event_type)
                logger.warning("run.ended_by_reconciler", run_id=one.run_id, type=event_type)
        elif one.run.status == "dispatched" and absent is not None:
            await self.desk.follow_up(one.key, _cause(one.key), is_due=self._due)

    async def _creating(self, key: SessionKey, since: datetime) -> None:
        if (datetime.now(UTC) - since).total_seconds() <= self.patience.session_limit:
            await self.desk.follow_up(key, _cause(key), is_due=self._due)
            return
        failed = SessionFailed(reason="timeout", message="The worktree was not made in time.")

        def decide(state: State) -> Decision:
            return (Planned(failed),) if state.session.status == "creating" and state.worktree is None else ()

        await self.desk.carry_out(key, decide, _cause(key))

    def _due(self, errand: Errand, state: State) -> int | None:
        """The number of the repetition that is due now; None when it was made already or is not due yet."""
        session = state.session
        match errand:
            case Start(run_id=run_id):
                about, since = run_id, state.run(run_id).dispatched_at
            case OpenTree():
                about, since = f"open:{session.runner_thread_id}", session.created_at
            case _:
                about, since = f"remove:{session.runner_thread_id}", session.deleted_at or session.created_at
        age = (datetime.now(UTC) - since).total_seconds() if since else 0.0
        number = resend_number(age, self.patience)
        if number <= self._sent.get(about, 0):
            return None
        if len(self._sent) >= _REMEMBERED:
            self._sent.clear()
        self._sent[about] = number
        logger.warning("errand.repeated", errand=type(errand).__name__, about=about, attempt=number)
        return number

    async def _safely(self, key: SessionKey, work: Coroutine[Any, Any, None]) -> None:
        """One session that cannot be decided about must not keep the others waiting."""
        try:
            await work
        except Problem as problem:
            logger.warning("reconciler.skipped", session_id=key.session_id, problem=problem.type)
        except _AWAY:
            raise
        except Exception:
            logger.exception("reconciler.failed", session_id=key.session_id)


def lease_key(session_id: str, run_id: str, run: Run) -> str:
    """The name of a run's lease: in a container it stands below its session, so that it can be kept from others."""
    return f"{session_id}.{run_id}" if run.method in OUR_CONTAINERS else run_id


def _cause(key: SessionKey, run_id: str = "") -> Cause:
    return Cause(derived_id("reconciler", key.tenant_id, key.session_id, run_id))

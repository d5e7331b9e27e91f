"""Keeps the containers of sessions as they should be: after every change, and from time to time all of them.

One replica at a time does it (the one that reconciles). It remembers nothing that counts: what should be
follows from the log, what is from the engine. An engine that does not answer proves nothing.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Protocol, runtime_checkable

import structlog

from runyard_chassis import Problem
from runyard_events import Conflict, EventError, LogUnavailable, derived_id
from runyard_events.database import DATABASE_FAULTS
from runyard_events.subjects import parse
from runyard_events.tasks import side_by_side
from runyard_orchestrator.adapters.containers import Containers
from runyard_orchestrator.adapters.engine_watch import EngineWatch
from runyard_orchestrator.adapters.homes import Homes
from runyard_orchestrator.adapters.leadership import Leadership
from runyard_orchestrator.adapters.ledger import Cause
from runyard_orchestrator.domain.rules import Installation, rules_of
from runyard_orchestrator.domain.sandbox import Sandbox
from runyard_orchestrator.domain.situation import (
    FailRun,
    Forget,
    Patience,
    Situation,
    Step,
    TakeBack,
    Wait,
    container_name,
)
from runyard_orchestrator.domain.state import State
from runyard_orchestrator.domain.upkeep import next_step
from runyard_orchestrator.handlers.census import Census
from runyard_orchestrator.handlers.desk import Desk
from runyard_orchestrator.handlers.rounds import Rounds
from runyard_orchestrator.handlers.sandbox_steps import Steps
from runyard_orchestrator.handlers.warm_pool import WarmPool
from runyard_orchestrator.store.reading import SessionKey
from runyard_orchestrator.store.reading_sandboxes import SandboxRows
from runyard_sandbox import EngineAway, SandboxFault
from runyard_sandbox import Sandbox as Container

logger = structlog.get_logger(__name__)

_AT_ONCE = 1000
_MOST_STEPS = 40
_AGAIN_SECONDS = 1.0
_CATCH_UP_SECONDS = 5.0
_REMEMBERED = 4096
_AWAY = (LogUnavailable, *DATABASE_FAULTS)
_AT_WORK = frozenset({"creating", "running", "paused", "error"})
_THOROUGH = 12
"""Every so many looks at everything those at rest are looked at too, and what is nobody's is removed."""
_READERS = 8
"""Looks that read the rows at the same time: commands need the database's connections too."""

Attend = Callable[[SessionKey, Sandbox | None], None]


@runtime_checkable
class Reaping(Protocol):
    """A provisioner that finds by itself what belongs to no container: networks, volumes, what agents started."""

    async def reap(self) -> Sequence[object]:
        """Removes it, and tells what it was."""
        ...


class Sandboxes:
    """Looks after the sandboxes of all sessions. `containers` is None where they are switched off."""

    def __init__(
        self,
        *,
        desk: Desk,
        rows: SandboxRows,
        steps: Steps,
        homes: Homes,
        containers: Containers | None,
        installation: Installation,
        patience: Patience,
        leadership: Leadership,
        pool: WarmPool,
        every_seconds: float,
    ) -> None:
        self._desk = desk
        self._rows = rows
        self._steps = steps
        self._homes = homes
        self._containers = containers
        self._installation = installation
        self._patience = patience
        self._leadership = leadership
        self._pool = pool
        self._every = every_seconds
        self.engine = EngineWatch()
        self.attend: Attend = lambda key, sandbox: None  # noqa: ARG005
        """Told each sandbox that runs, and each session (with None) whose does not."""
        self.stood_down: Callable[[], None] = lambda: None
        """Told when another process looks after them."""
        self._rounds = Rounds[SessionKey](self._safely)
        self._hints: dict[SessionKey, list[Container]] = {}
        self._written: dict[SessionKey, Sandbox] = {}
        self._names: dict[str, SessionKey] = {}
        self._census = Census(rows, self._written_epoch)
        self._reading = asyncio.Semaphore(_READERS)
        self._looks = 0
        self._soon = asyncio.Event()
        self._queues: set[str] = set()
        """The sessions whose starts had a queue at the last thorough look."""

    def wake(self, key: SessionKey) -> None:
        """Something about this session has changed: look at it."""
        if self._installation.has_sandboxes:
            self._rounds.wake(key)

    def look_around(self) -> None:
        """Something that holds for many has changed: look at everything now."""
        self._soon.set()

    async def run(self) -> None:
        """Looks after them until cancelled."""
        listening = [self._listen(self._containers)] if self._containers is not None else []
        await side_by_side(self._pass_by(), self._rounds.run(), *listening)

    async def once(self) -> None:
        """One look at everything, if this process leads.

        Raises:
            LogUnavailable, one of DATABASE_FAULTS: something is away; nothing is concluded from what could not be seen.
        """
        if not await self._leadership.held():
            self._looks = 0
            self.stood_down()
            return
        is_thorough = self._looks % _THOROUGH == 0
        keys = set(await self._rows.to_be_looked_after(_AT_ONCE))
        owned = await self._owned()
        keys |= {key for key, held in owned.items() if is_thorough or any(one.status in _AT_WORK for one in held)}
        self._rounds.wake(*keys, *await self._pool.next_ones())
        if is_thorough:
            await self._tidy_up()
        self._looks += 1

    async def look_at(self, key: SessionKey) -> None:
        """Takes one session's sandbox to where it should be, step by step."""
        if not await self._leadership.held():
            return
        at = await self._situation(key)
        seen = self._hints.pop(key, None)
        for _ in range(_MOST_STEPS):
            step = self._next_step(at, seen) if seen else None
            if step is not None or not seen:
                # What the last look at everything saw may be old: whatever is to be done rests on a look of its own.
                step = self._next_step(at, await self._containers_of(key, at, seen or ()))
            seen = None
            if step is None:
                break
            if isinstance(step, Wait):
                self._rounds.later(key, step.seconds)
                break
            try:
                after = await self._steps.take(key, at, step, _cause(key))
            except EngineAway as error:
                self.engine.away(str(error))
                break
            if isinstance(step, Forget):
                self._queues.discard(key.session_id)
            self._remember(key, after)
            if isinstance(step, TakeBack | FailRun):
                break  # the rows will show it, and wake us
            at = replace(await self._situation(key), sandbox=after)
        self.attend(key, at.sandbox if at.sandbox.status == "running" else None)

    async def latest(self, key: SessionKey) -> Sandbox:
        """The newest that is known: the rows may not show yet what this process wrote."""
        stored, written = await self._rows.sandbox(key), self._written.get(key)
        return written if written is not None and written.stream_seq > stored.stream_seq else stored

    async def catch_up(self, key: SessionKey, conflict: Conflict) -> None:
        """Waits until the rows show what somebody else has written."""
        if conflict.last is not None:
            with contextlib.suppress(*_AWAY):
                place = conflict.last.stream_seq
                await self._desk.projections.reached(parse(conflict.subject), place, timeout=_CATCH_UP_SECONDS)
        self._written.pop(key, None)

    def _next_step(self, at: Situation, containers: Sequence[Container] | None) -> Step | None:
        return next_step(
            at,
            containers,
            now=datetime.now(UTC),
            patience=self._patience,
            away_seconds=self.engine.away_seconds,
            away_why=self.engine.why,
        )

    async def _pass_by(self) -> None:
        while True:
            try:
                await self.once()
            except _AWAY as error:
                logger.warning("sandboxes.waiting", error=str(error) or type(error).__name__)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._every):
                    await self._soon.wait()
            self._soon.clear()

    async def _safely(self, key: SessionKey) -> None:
        """One session that cannot be seen to must not keep the others waiting."""
        try:
            await self.look_at(key)
        except Conflict as conflict:
            await self.catch_up(key, conflict)
            self._rounds.later(key, 0.0)
        except (*_AWAY, EventError, Problem, SandboxFault) as error:
            logger.warning("sandbox.postponed", session_id=key.session_id, error=str(error) or type(error).__name__)
            self._rounds.postpone(key)
        except Exception:
            logger.exception("sandbox.failed", session_id=key.session_id)
            self._rounds.postpone(key)
        else:
            self._rounds.went_well(key)

    async def _listen(self, containers: Containers) -> None:
        """What the engine tells of containers; while it is away, asks whether it is back."""
        while True:
            try:
                await containers.provisioner.check()
                self.engine.answered()
                async for change in containers.provisioner.changes():
                    key = self._names.get(change.name)
                    if key is not None:
                        self.wake(key)
            except SandboxFault as error:
                self.engine.away(str(error))
            await asyncio.sleep(_AGAIN_SECONDS)
            self._hints.clear()
            with contextlib.suppress(*_AWAY):
                await self.once()

    async def _owned(self) -> dict[SessionKey, list[Container]]:
        """The engine's containers by session; none while it does not answer."""
        if self._containers is None:
            return {}
        try:
            found = await self._containers.provisioner.list()
        except SandboxFault as error:
            self.engine.away(str(error))
            return {}
        self.engine.answered()
        owned = await self._census.take(self._containers, [one for one in found if one.purpose == "agent"])
        for key, held in owned.items():
            for one in held:
                self._know(one.name, key)
        self._hints = {key: held for key, held in owned.items() if held}
        return owned

    async def _tidy_up(self) -> None:
        """What is left of sessions that have ended, and of nobody."""
        await self._reap_leftovers()
        try:
            self._queues = await self._steps.queues()
        except EventError as error:
            # A server that does not tell of them keeps nothing else from being seen to.
            logger.warning("sandbox.queues_unseen", error=str(error))
        self._rounds.wake(*await self._rows.forgettable([*await self._homes.all(), *self._queues]))

    async def _reap_leftovers(self) -> None:
        """Whatever a killed process of ours left between two steps."""
        provisioner = self._containers.provisioner if self._containers else None
        if not isinstance(provisioner, Reaping):
            return
        try:
            for one in await provisioner.reap():
                logger.warning("sandbox.leftover_removed", leftover=repr(one))
        except SandboxFault as error:
            self.engine.away(str(error))

    async def _containers_of(self, key: SessionKey, at: Situation, seen: Sequence[Container]) -> list[Container] | None:
        """Those that may be there; None while the engine does not answer."""
        if self._containers is None:
            return []
        box = at.sandbox
        names = {container_name(key.session_id, box.epoch)} if box.epoch else set[str]()
        if box.epoch > 1 and box.status in ("requested", "creating"):
            names.add(container_name(key.session_id, box.epoch - 1))
        names |= {one.name for one in seen}
        for name in names:
            self._know(name, key)
        if box.epoch == 1 and box.name is None and not seen:
            return []  # its first one has never been begun
        try:
            found = await self._containers.of(key, sorted(names))
        except SandboxFault as error:
            self.engine.away(str(error))
            return None
        if names:
            self.engine.answered()
        return found

    async def _situation(self, key: SessionKey) -> Situation:
        async with self._reading:
            state, sandbox = await self._desk.rows.state(key), await self.latest(key)
        has_remains, may_warm = False, False
        if sandbox.status == "absent" and state.session.status == "ready" and not state.session.active_run_id:
            may_warm = await self._pool.has_room(key)
        if sandbox.status == "deleted" or state.session.status in ("deleted", "failed"):
            has_remains = key.session_id in self._queues or await self._homes.exists(key.session_id)
        return situation_of(key, state, sandbox, self._installation, has_remains=has_remains, may_warm=may_warm)

    def _written_epoch(self, key: SessionKey) -> int:
        return self._written[key].epoch if key in self._written else 0

    def _remember(self, key: SessionKey, sandbox: Sandbox) -> None:
        self._written.pop(key, None)
        self._written[key] = sandbox
        while len(self._written) > _REMEMBERED:
            del self._written[next(iter(self._written))]

    def _know(self, name: str, key: SessionKey) -> None:
        self._names.pop(name, None)
        self._names[name] = key
        while len(self._names) > _REMEMBERED:
            del self._names[next(iter(self._names))]


def situation_of(
    key: SessionKey,
    state: State,
    sandbox: Sandbox,
    installation: Installation,
    *,
    has_remains: bool = False,
    may_warm: bool = False,
) -> Situation:
    """What is known about a session's sandbox, put together."""
    session, run = state.session, state.active_run
    last = state.run(session.active_run_id) if session.active_run_id else None
    return Situation(
        session=session.status,
        session_id=key.session_id,
        runner_type=session.runner_type,
        sandbox=sandbox,
        rules=rules_of(installation, state.rules),
        installation=installation,
        run_id=session.active_run_id if run else None,
        run=run,
        idle_since=last.completed_at if last else None,
        # The rows of runs may be behind those of sessions: a run that they do not show counts as one that runs.
        unsettled=run is None and (not state.idle or bool(state.waiting)),
        has_open_runs=bool(state.open_runs),
        has_remains=has_remains,
        may_warm=may_warm,
    )


def _cause(key: SessionKey) -> Cause:
    return Cause(derived_id("sandboxes", key.tenant_id, key.session_id))

"""Decide and write, until it holds: the loop that every decision of this service goes through."""

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from operator import itemgetter

import structlog

from runyard_chassis import Problem, Unavailable
from runyard_events import Conflict, EventError, EventLog
from runyard_events.catalogue import SessionRunQueued
from runyard_events.database import DATABASE_FAULTS
from runyard_events.subjects import parse, run_subject, session_subject
from runyard_orchestrator.adapters.errands import Errands
from runyard_orchestrator.adapters.ledger import Cause, Ledger
from runyard_orchestrator.adapters.projections import Projections
from runyard_orchestrator.adapters.recently import Recently
from runyard_orchestrator.domain.facts import Decision, Planned, Refusal
from runyard_orchestrator.domain.owed import CALLS_FOR, Errand, owed_errands, owed_events
from runyard_orchestrator.domain.rules import PROCESSES, Installation
from runyard_orchestrator.domain.state import State
from runyard_orchestrator.handlers.refusals import refused
from runyard_orchestrator.store.reading import Rows, SessionKey

logger = structlog.get_logger(__name__)

Decide = Callable[[State], Decision]
IsDue = Callable[[Errand, State], int | None]
_TRIES = 8
_CATCH_UP_SECONDS = 5.0
_REMEMBERED = 8192
_NEWEST = 4
"""Places of one session that are remembered: whoever has seen the newest has seen those before."""


@dataclass(slots=True)
class _Seat:
    """One session being decided about; `places` are those of our own last events there."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0
    places: dict[str, int] = field(default_factory=dict[str, int])


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a decision came to: the state with its events, the place of the last one, and their types."""

    state: State
    seq: int
    types: frozenset[str] = frozenset()
    ids: frozenset[str] = frozenset()


class Desk:
    """Everything that decisions are made with. In one process they are made one at a time per session."""

    def __init__(
        self,
        *,
        log: EventLog,
        ledger: Ledger,
        rows: Rows,
        projections: Projections,
        errands: Errands,
        installation: Installation = PROCESSES,
    ) -> None:
        self.rows = rows
        self.projections = projections
        self._errands = errands
        self._log = log
        self._ledger = ledger
        self._owed_events = partial(owed_events, installation=installation)
        self._seats: dict[SessionKey, _Seat] = {}
        self._left: OrderedDict[SessionKey, dict[str, int]] = OrderedDict()
        """The places of seats that were left, the newest few thousand: the rows may still be behind them."""
        self._sending: dict[SessionKey, set[asyncio.Task[None]]] = {}
        self._seen_to = Recently(_REMEMBERED)

    async def carry_out(self, key: SessionKey, decide: Decide, cause: Cause, *, run_id: str | None = None) -> Outcome:
        """Decides on the rows and appends, again and again until nobody was faster.

        A refusal is given out only after the rows were seen to be as new as the log.

        Raises:
            Problem: the command is refused, or the projection is behind.
            LogUnavailable: the log is away.
        """
        async with self._alone(key) as seat:
            return await self._decided(key, decide, cause, seat, run_id=run_id)

    async def carry_on(self, key: SessionKey, decide: Decide, cause: Cause, *, run_id: str) -> Outcome:
        """The same, and then whatever the session owes for it.

        The decision holds even if the rest cannot be done now: the process manager goes on from there.
        """
        async with self._alone(key) as seat:
            outcome = await self._decided(key, decide, cause, seat, run_id=run_id)
            if not outcome.types:
                return outcome
            try:
                return await self._owed(key, cause, seat, outcome)
            except (Problem, EventError, *DATABASE_FAULTS) as error:
                logger.warning("session.postponed", error=str(error))
                return outcome

    async def carry_out_owed(self, key: SessionKey, cause: Cause) -> Outcome:
        """Appends what a session owes, step after step."""
        async with self._alone(key) as seat:
            return await self._owed(key, cause, seat, None)

    async def catch_up(self, key: SessionKey, *, families: Sequence[str], run_id: str | None = None) -> None:
        """Waits until the rows are where the log stands with these families of a session, and with a run of it.

        Raises:
            Problem: they are far behind.
            LogUnavailable: the log is away.
        """
        subjects = [session_subject(key.tenant_id, key.session_id, family) for family in families]
        if run_id is not None:
            subjects.append(run_subject(key.tenant_id, key.session_id, run_id, "lifecycle"))
        found = [await self._log.last(subject) for subject in subjects]
        await self._reach_all({last.subject: last.stream_seq for last in found if last is not None})

    async def restore(self, key: SessionKey, planned: Planned, cause: Cause) -> None:
        """See `Ledger.restore`."""
        await self._ledger.restore(key, planned, cause)

    async def _owed(self, key: SessionKey, cause: Cause, seat: _Seat, begun: Outcome | None) -> Outcome:
        types, ids = (begun.types, begun.ids) if begun else (frozenset[str](), frozenset[str]())
        seq, state = (begun.seq, begun.state) if begun else (0, None)
        while True:
            outcome = await self._decided(key, self._owed_events, cause, seat, state=state)
            if not outcome.types:
                return replace(outcome, seq=max(seq, outcome.seq), types=types, ids=ids)
            types, ids, seq, state = types | outcome.types, ids | outcome.ids, outcome.seq, outcome.state

    async def follow_up(
        self, key: SessionKey, cause: Cause, *, events: Collection[str] = (), is_due: IsDue | None = None
    ) -> None:
        """Brings a session to where nothing is owed: appends what follows, then sends the errands.

        An errand is sent when one of `events` (types that brought us here) or one appended now calls for
        it, or when `is_due` gives it the number of a further attempt.
        """
        outcome = await self.carry_out_owed(key, cause)
        types = outcome.types.union(events)
        for errand in owed_errands(outcome.state):
            attempt = 0 if types & CALLS_FOR[type(errand)] else is_due(errand, outcome.state) if is_due else None
            if attempt is not None:
                await self._errands.send(key, outcome.state, errand, cause=cause, attempt=attempt)

    def send_errands(self, key: SessionKey, outcome: Outcome, cause: Cause, *, prompt: str | None = None) -> None:
        """Begins to send what the events just written call for, ahead of the process manager.

        Only to be quick: whatever does not come of it, the process manager finds in the same events.
        """
        errands = [one for one in owed_errands(outcome.state) if outcome.types & CALLS_FOR[type(one)]]
        if errands:
            task = asyncio.create_task(self._send_all(key, outcome, errands, cause, prompt))
            sending = self._sending.setdefault(key, set())
            sending.add(task)
            task.add_done_callback(lambda done: self._sent(key, done))

    async def has_seen_to(self, key: SessionKey, event_ids: Collection[str]) -> bool:
        """Whether this process wrote these events of a session and has done all that they call for."""
        async with self._alone(key):
            # Whoever was deciding has written by now, and begun to send.
            sending = set(self._sending.get(key, ()))
        if sending:
            await asyncio.wait(sending)
        return all(event_id in self._seen_to for event_id in event_ids)

    def _sent(self, key: SessionKey, task: asyncio.Task[None]) -> None:
        sending = self._sending.get(key, set())
        sending.discard(task)
        if not sending:
            self._sending.pop(key, None)

    async def _send_all(
        self, key: SessionKey, outcome: Outcome, errands: Sequence[Errand], cause: Cause, prompt: str | None
    ) -> None:
        try:
            for errand in errands:
                await self._errands.send(key, outcome.state, errand, cause=cause, prompt=prompt)
        except (EventError, Problem, *DATABASE_FAULTS) as error:
            logger.warning("errand.postponed", error=str(error))
        else:
            self._seen_to.update(outcome.ids)

    async def _decided(
        self,
        key: SessionKey,
        decide: Decide,
        cause: Cause,
        seat: _Seat,
        *,
        run_id: str | None = None,
        state: State | None = None,
    ) -> Outcome:
        is_newest, is_own = False, state is not None
        for _ in range(_TRIES):
            if state is None:
                await self._reach_all(seat.places)
                state, is_own = await self.rows.state(key, run_id), False
            decision = decide(state)
            if isinstance(decision, Refusal):
                if is_newest:
                    raise refused(decision)
                await self._reach_all(await self._newest(key, run_id))
                is_newest, state = True, None
                continue
            if not decision:
                return Outcome(state, _place(state, run_id))
            if not is_own and (newer := await self._newer_than(key, state, decision)):
                await self._reach_all(newer)
                state = None
                continue
            try:
                written = await self._ledger.write(key, state, decision, cause)
            except Conflict as conflict:
                if conflict.last is not None:
                    await self._reach_all({conflict.subject: conflict.last.stream_seq})
                is_newest, state = False, None
                continue
            seat.places.update(written.places)
            return Outcome(written.state, written.seq, written.types, written.ids)
        raise Unavailable("The session is changing too fast to decide about it.", type="too-much-at-once")

    @contextlib.asynccontextmanager
    async def _alone(self, key: SessionKey) -> AsyncGenerator[_Seat, None]:
        seat = self._seats.setdefault(key, _Seat(places=self._left.pop(key, {})))
        seat.users += 1
        try:
            async with seat.lock:
                yield seat
        finally:
            seat.users -= 1
            if not seat.users:
                self._seats.pop(key, None)
                self._left[key] = dict(sorted(seat.places.items(), key=itemgetter(1))[-_NEWEST:])
                if len(self._left) > _REMEMBERED:
                    self._left.popitem(last=False)

    async def _newest(self, key: SessionKey, run_id: str | None) -> dict[str, int]:
        """Where the log itself stands with this session and run."""
        subjects = [session_subject(key.tenant_id, key.session_id, "lifecycle")]
        if run_id is not None:
            subjects.append(run_subject(key.tenant_id, key.session_id, run_id, "lifecycle"))
        found = [await self._log.last(subject) for subject in subjects]
        return {last.subject: last.stream_seq for last in found if last is not None}

    async def _newer_than(self, key: SessionKey, state: State, decision: Sequence[Planned]) -> dict[str, int]:
        """Where the log is ahead of the rows with runs that are to be queued.

        The session's lifecycle guards its queue, but not that a run still waits: rows that are far behind
        might put a run there which has had its turn.
        """
        newer: dict[str, int] = {}
        for planned in decision:
            if isinstance(planned.payload, SessionRunQueued):
                run_id = planned.payload.queued_run_id
                last = await self._log.last(run_subject(key.tenant_id, key.session_id, run_id, "lifecycle"))
                if last is not None and last.stream_seq > state.run(run_id).stream_seq:
                    newer[last.subject] = last.stream_seq
        return newer

    async def _reach_all(self, places: Mapping[str, int]) -> None:
        for subject, place in places.items():
            if not await self.projections.reached(parse(subject), place, timeout=_CATCH_UP_SECONDS):
                raise Unavailable("The orchestrator's view of the log is behind.", type="projection-behind")


def _place(state: State, run_id: str | None) -> int:
    return state.run(run_id).stream_seq if run_id is not None else state.session.stream_seq

"""A log in memory with the compare-and-set of the real one, and rows that lag behind it as far as a test likes."""

from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from runyard_events import Append, Conflict, EventLog, Redactor, Scope, StoredEvent, encode, stamp
from runyard_events.catalogue import TERMINAL_TYPES, AnyPayload
from runyard_orchestrator.adapters.ledger import Cause, Ledger, Written
from runyard_orchestrator.domain import run as runs
from runyard_orchestrator.domain import session as sessions
from runyard_orchestrator.domain.facts import Planned
from runyard_orchestrator.domain.run import Run
from runyard_orchestrator.domain.session import Session
from runyard_orchestrator.domain.state import State, Worktree
from runyard_orchestrator.store.following import fact_of
from runyard_orchestrator.store.reading import SessionKey

KEY = SessionKey("tenant", "session")


def at_once(work: Coroutine[Any, Any, Written]) -> Written:
    """Runs a coroutine that waits for nothing."""
    try:
        work.send(None)
    except StopIteration as done:
        return cast("Written", done.value)
    raise AssertionError("it waited")


@dataclass
class MemoryLog:
    """Append with compare-and-set and deduplication by id, as `EventLog` promises it."""

    stored: list[StoredEvent] = field(default_factory=list[StoredEvent])

    async def append_all(self, appends: Sequence[Append]) -> int:
        for one in appends:
            last = self.newest(one.subject)
            if one.expect is None or one.expect == (last.stream_seq if last else 0):
                continue
            newest = [other for other in appends if other.subject == one.subject][-1]
            if last is not None and last.event.id == newest.event.id:
                return self.stored[-1].stream_seq
            raise Conflict(one.subject, one.expect, last)
        for one in appends:
            self.stored.append(StoredEvent(len(self.stored) + 1, one.subject, encode(one.event)))
        return len(self.stored)

    async def append_placed(self, appends: Sequence[Append]) -> list[int]:
        last = await self.append_all(appends)
        return list(range(last - len(appends) + 1, last + 1))

    async def append_each(self, appends: Sequence[Append]) -> list[int]:
        return [await self.append_all([one]) for one in appends]

    async def last(self, subject: str) -> StoredEvent | None:
        return self.newest(subject)

    def newest(self, subject: str) -> StoredEvent | None:
        return next((one for one in reversed(self.stored) if one.subject == subject), None)


@dataclass
class Simulation:
    """One session: the log, two projections at places of their own, and a runner."""

    log: MemoryLog = field(default_factory=MemoryLog)
    session_place: int = 0
    run_place: int = 0
    worktree: Worktree | None = None
    runner_seq: dict[str, int] = field(default_factory=dict[str, int])

    def __post_init__(self) -> None:
        self.ledger = Ledger(cast("EventLog", self.log), Redactor())

    def state(self) -> State:
        """What the rows show at their places."""
        session, found = Session(), dict[str, Run]()
        for stored in self.log.stored:
            if stored.family != "lifecycle":
                continue
            fact = fact_of(stored)
            assert fact is not None
            run_id = stored.address.run_id
            if run_id is None and stored.stream_seq <= self.session_place:
                session = sessions.evolve(session, fact)
            if run_id is not None and stored.stream_seq <= self.run_place:
                found[run_id] = runs.evolve(found.get(run_id) or Run(), fact)
        return State(session, found, self.worktree)

    def catch_up(self) -> None:
        self.session_place = self.run_place = len(self.log.stored)

    def follow(self, lag: tuple[int, int] | None) -> None:
        end = len(self.log.stored)
        by_session, by_run = (end, end) if lag is None else lag
        self.session_place = min(end, self.session_place + by_session)
        self.run_place = min(end, self.run_place + by_run)

    def write(self, state: State, planned: Sequence[Planned], cause: str) -> Written | None:
        """None: somebody was faster."""
        try:
            return at_once(self.ledger.write(KEY, state, planned, Cause(cause)))
        except Conflict:
            return None

    def is_behind(self, run_id: str) -> bool:
        """Whether the rows do not show the newest about a run."""
        last = self.log.newest(Scope.run(KEY.tenant_id, KEY.session_id, run_id).subject("lifecycle"))
        return last is not None and last.stream_seq > self.run_place

    def holds(self, planned: Planned) -> bool:
        return any(
            one.address.run_id == planned.run_id and one.event.payload == planned.payload for one in self.log.stored
        )

    def runner_says(self, run_id: str, payload: AnyPayload) -> bool:
        """The runner's append, guarded by the newest place; False when the run has ended."""
        scope = Scope.run(KEY.tenant_id, KEY.session_id, run_id)
        last = self.log.newest(scope.subject("lifecycle"))
        if last is None or last.event.type in TERMINAL_TYPES:
            return False
        seq = self.runner_seq.get(run_id, 0) + 1
        event = stamp(payload, scope=scope, source="runner-codex.1", seq=seq)
        self.log.stored.append(StoredEvent(len(self.log.stored) + 1, scope.subject(payload.FAMILY), encode(event)))
        self.runner_seq[run_id] = seq
        return True

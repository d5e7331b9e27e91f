"""The three projections of this service, run side by side, and how to wait for them."""

import asyncio
import contextlib
from collections.abc import Generator, Sequence

from nats.aio.client import Client

from runyard_chassis import Database
from runyard_events import Address, EventLog, Projector, StoredEvent
from runyard_orchestrator.store import following, tables
from runyard_orchestrator.store.reading import SessionKey

SESSION_EVENTS = "ev.*.session.*.lifecycle"
RUN_EVENTS = "ev.*.session.*.run.*.lifecycle"
WORKTREE_EVENTS = "ev.*.session.*.effect"


class Projections:
    """Sessions, runs and worktrees, each following its own filter of the log."""

    def __init__(self, client: Client, log: EventLog, database: Database) -> None:
        self._watched: dict[SessionKey, set[asyncio.Event]] = {}

        def projector(name: str, subject: str, apply: following.Apply) -> Projector:
            return Projector(
                name=f"orchestrator-{name}",
                log=log,
                client=client,
                subjects=[subject],
                sessions=database.session,
                checkpoints=tables.checkpoints,
                apply=apply,
                after_commit=self._notice if name == "sessions" else None,
            )

        self.sessions = projector("sessions", SESSION_EVENTS, following.apply_sessions)
        self.runs = projector("runs", RUN_EVENTS, following.apply_runs)
        self.worktrees = projector("worktrees", WORKTREE_EVENTS, following.apply_worktrees)
        self._all = (self.sessions, self.runs, self.worktrees)

    async def run(self) -> None:
        """Follows the log until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for projector in self._all:
                tasks.create_task(projector.run(), name=projector.name)

    async def caught_up(self) -> None:
        """Waits until each has reached the end of the log as it was when it began."""
        for projector in self._all:
            await projector.caught_up.wait()

    @property
    def is_caught_up(self) -> bool:
        """Whether `caught_up` would return at once."""
        return all(projector.caught_up.is_set() for projector in self._all)

    async def reached(self, address: Address, stream_seq: int, *, timeout: float = 5.0) -> bool:  # noqa: ASYNC109
        """Waits until the rows show the event at this place; False when that takes too long."""
        return await self._for(address).reached(stream_seq, timeout=timeout)

    @contextlib.contextmanager
    def watching(self, key: SessionKey) -> Generator[asyncio.Event]:
        """An event that is set whenever the session's own row has changed."""
        changed = asyncio.Event()
        watchers = self._watched.setdefault(key, set())
        watchers.add(changed)
        try:
            yield changed
        finally:
            watchers.discard(changed)
            if not watchers:
                self._watched.pop(key, None)

    def _for(self, address: Address) -> Projector:
        if address.run_id is not None:
            return self.runs
        return self.worktrees if address.family == "effect" else self.sessions

    def _notice(self, batch: Sequence[StoredEvent]) -> None:
        if not self._watched:
            return
        for stored in batch:
            key = SessionKey(stored.address.tenant_id, stored.address.aggregate_id)
            for changed in self._watched.get(key, ()):
                changed.set()

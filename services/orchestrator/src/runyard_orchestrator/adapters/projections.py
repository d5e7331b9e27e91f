"""The projections of this service, run side by side, and how to wait for them."""

import asyncio
import contextlib
from collections.abc import Callable, Generator, Sequence

from nats.aio.client import Client

from runyard_chassis import Database
from runyard_events import Address, EventLog, Projector, StoredEvent
from runyard_events.tasks import side_by_side
from runyard_orchestrator.store import following, following_sandboxes, tables
from runyard_orchestrator.store.reading import SessionKey

SESSION_EVENTS = "ev.*.session.*.lifecycle"
RUN_EVENTS = "ev.*.session.*.run.*.lifecycle"
WORKTREE_EVENTS = "ev.*.session.*.effect"
SANDBOX_EVENTS = "ev.*.session.*.sandbox"
TEAM_EVENTS = "ev.*.team.*.lifecycle"


class Projections:
    """Sessions, runs, worktrees, sandboxes and teams' rules, each following its own filter of the log."""

    def __init__(self, client: Client, log: EventLog, database: Database) -> None:
        self._watched: dict[SessionKey, set[asyncio.Event]] = {}
        self.changed: Callable[[SessionKey], None] | None = None
        """Told each session about which, or about whose run or sandbox, the rows have changed."""
        self.rules_changed: Callable[[], None] | None = None
        """Told that a team has other rules."""
        notices = {**dict.fromkeys(("sessions", "runs", "sandboxes"), self._notice), "teams": self._notice_rules}

        def projector(name: str, subject: str, apply: following.Apply) -> Projector:
            return Projector(
                name=f"orchestrator-{name}",
                log=log,
                client=client,
                subjects=[subject],
                sessions=database.session,
                checkpoints=tables.checkpoints,
                apply=apply,
                after_commit=notices.get(name),
            )

        self.sessions = projector("sessions", SESSION_EVENTS, following.apply_sessions)
        self.runs = projector("runs", RUN_EVENTS, following.apply_runs)
        self.worktrees = projector("worktrees", WORKTREE_EVENTS, following.apply_worktrees)
        self.sandboxes = projector("sandboxes", SANDBOX_EVENTS, following_sandboxes.apply_sandboxes)
        self.teams = projector("teams", TEAM_EVENTS, following_sandboxes.apply_rules)
        self._all = (self.sessions, self.runs, self.worktrees, self.sandboxes, self.teams)

    async def run(self) -> None:
        """Follows the log until cancelled."""
        await side_by_side(*(projector.run() for projector in self._all))

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
        """An event that is set whenever the session's own row, or one of its runs or its sandbox, has changed."""
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
        if address.aggregate == "team":
            return self.teams
        by_family = {"effect": self.worktrees, "sandbox": self.sandboxes}
        return by_family.get(address.family, self.sessions)

    def _notice_rules(self, _: Sequence[StoredEvent]) -> None:
        if self.rules_changed is not None:
            self.rules_changed()

    def _notice(self, batch: Sequence[StoredEvent]) -> None:
        if not self._watched and self.changed is None:
            return
        for stored in batch:
            address = stored.address
            key = SessionKey(address.tenant_id, address.session_id or address.aggregate_id)
            for changed in self._watched.get(key, ()):
                changed.set()
            if self.changed is not None:
                self.changed(key)

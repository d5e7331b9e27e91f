"""What stands in the log about the things that this service decides on, read when it decides."""

import asyncio
from weakref import WeakValueDictionary

from runyard_events import Conflict, Envelope, EventLog, Scope, StoredEvent, Writer
from runyard_events.catalogue import CheckpointCreated, Payload
from runyard_events.subjects import run_subject, session_subject, workspace_subject
from runyard_workspace.domain.state import (
    SOURCE,
    FilesState,
    RunState,
    WorkspaceState,
    files_state,
    last_checkpoint,
    run_state,
    settled,
    workspace_state,
)

ATTEMPTS = 5


class Histories:
    """Reads the events of one workspace, session or run, and writes behind them."""

    def __init__(self, log: EventLog) -> None:
        self.log = log
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def workspace(self, tenant: str, workspace: str) -> tuple[WorkspaceState, int]:
        """The state of a workspace, and the stream sequence of its last lifecycle event (0: none)."""
        stored = await self._stored(workspace_subject(tenant, workspace, "*"))
        lifecycle = [one.stream_seq for one in stored if one.family == "lifecycle"]
        return workspace_state(one.event for one in stored), max(lifecycle, default=0)

    async def files(self, tenant: str, session: str) -> tuple[FilesState, int]:
        """The state of a session's files, and the stream sequence of the last event about them (0: none)."""
        stored = await self._stored(session_subject(tenant, session, "effect"))
        return files_state(one.event for one in stored), stored[-1].stream_seq if stored else 0

    async def team(self, tenant: str) -> list[Envelope]:
        """What a team has given us, oldest first."""
        return await self._events(Scope.team(tenant).subject("effect"))

    async def run(self, tenant: str, session: str, run: str) -> RunState:
        """How far a run is."""
        return run_state(await self._events(run_subject(tenant, session, run, "lifecycle")))

    async def checkpoints(self, tenant: str, session: str, run: str) -> tuple[CheckpointCreated | None, bool]:
        """The newest checkpoint of a session, and whether this run's is settled."""
        events = await self._events(run_subject(tenant, session, "*", "effect"))
        return last_checkpoint(events), settled(events, run)

    async def tell(self, scope: Scope, payload: Payload) -> int:
        """Appends one event of ours about something that others of our tasks may be writing about just now.

        Raises:
            LogUnavailable: the log is away.
            Conflict: others were faster every time.
        """
        family = "*" if scope.aggregate == "workspace" else payload.FAMILY
        async with self._turns.setdefault(scope.aggregate_id, asyncio.Lock()):
            for attempt in range(1, ATTEMPTS + 1):
                stored = await self._stored(scope.subject(family))
                ours = [one.event.seq for one in stored if one.event.source == SOURCE]
                last = [one.stream_seq for one in stored if one.family == payload.FAMILY]
                try:
                    return await self.writer(scope, max(ours, default=0) + 1).append(
                        payload, expect=max(last, default=0)
                    )
                except Conflict:
                    if attempt == ATTEMPTS:
                        raise
        raise AssertionError("unreachable")

    def writer(self, scope: Scope, next_seq: int, *, correlation_id: str | None = None) -> Writer:
        """The writer of our own events about something."""
        return Writer(self.log, scope=scope, source=SOURCE, next_seq=next_seq, correlation_id=correlation_id)

    async def _events(self, subject: str) -> list[Envelope]:
        return [one.event for one in await self._stored(subject)]

    async def _stored(self, subject: str) -> list[StoredEvent]:
        return [one async for one in self.log.replay(subject)]

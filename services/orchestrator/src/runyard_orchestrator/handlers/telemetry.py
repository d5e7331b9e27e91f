"""What containers of sessions use and print: one stream of each per running container, told as events."""

import asyncio
import contextlib
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime

import structlog

from runyard_events import EventError, EventLog, Redactor, Scope, Writer
from runyard_events.catalogue import AnyPayload, SandboxStats
from runyard_events.tasks import end_tasks
from runyard_orchestrator.domain.facts import OWNER
from runyard_orchestrator.domain.measures import is_worth_telling
from runyard_orchestrator.domain.sandbox import Sandbox
from runyard_orchestrator.handlers.gathering import Gathered
from runyard_orchestrator.store.reading import SessionKey
from runyard_sandbox import LogLine, NotThere, Provisioner, SandboxFault, Stats
from runyard_sandbox.provisioner import NotSupported

logger = structlog.get_logger(__name__)

_GATHER_SECONDS = 0.5
_FIRST_LINES = 1000
_AGAIN_SECONDS = 2.0
_FRESH_SECONDS = 10.0
_REMEMBERED = 2000
_LAST_SECONDS = 15.0
"""For a container to end, and to say what it leaves, once nobody wants it any more."""
_START_SECONDS = 5.0
"""What lies at most between a container's first line and the event that it runs."""


class Reports:
    """Appends measures and sayings of containers. Each process numbers its own."""

    def __init__(self, log: EventLog, redactor: Redactor) -> None:
        self._log = log
        self._redactor = redactor
        self._writers: dict[Scope, tuple[Writer, asyncio.Lock]] = {}

    async def say(self, scope: Scope, payload: AnyPayload) -> None:
        """Appends one event.

        Raises:
            EventError: the log did not take it.
        """
        writer, lock = self._writer(scope)
        async with lock:
            await writer.append(payload)

    def _writer(self, scope: Scope) -> tuple[Writer, asyncio.Lock]:
        found = self._writers.pop(scope, None)
        if found is None:
            source = f"{OWNER}.telemetry.{uuid.uuid4().hex[:8]}"
            found = Writer(self._log, scope=scope, source=source, redactor=self._redactor), asyncio.Lock()
        self._writers[scope] = found
        while len(self._writers) > _REMEMBERED:
            del self._writers[next(iter(self._writers))]
        return found


@dataclass(slots=True)
class _Watched:
    """One running container: what it used last, and its two streams."""

    name: str
    since: float
    tasks: list[asyncio.Task[None]] = field(default_factory=list[asyncio.Task[None]])
    stats: Stats | None = None
    stats_at: float = 0.0
    heard: datetime | None = None
    """When the last line was printed that has been read."""
    is_leaving: bool = False

    def let_go(self) -> None:
        """Its last lines are read, and what it leaves on the disk: both streams end with the container."""
        self.is_leaving = True
        asyncio.get_running_loop().call_later(_LAST_SECONDS, self.end)

    def end(self) -> None:
        for task in self.tasks:
            task.cancel()


Follow = Callable[[Scope, _Watched], Awaitable[None]]


class Telemetry:
    """Watches the containers that this process is told to."""

    def __init__(
        self, provisioner: Provisioner, reports: Reports, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._provisioner = provisioner
        self._reports = reports
        self._clock = clock
        self._watched: dict[SessionKey, _Watched] = {}
        self._leaving: dict[SessionKey, _Watched] = {}

    def attend(self, key: SessionKey, sandbox: Sandbox | None) -> None:
        """Watches a session's running container from now on; None: no more."""
        known = self._watched.get(key)
        name = sandbox.name if sandbox is not None else None
        since = sandbox.changed_at.timestamp() if sandbox is not None and sandbox.changed_at is not None else 0.0
        if known is not None and known.name == name and known.since == since:
            return
        if known is not None:
            del self._watched[key]
            self._leave(key, known)
        if sandbox is not None and name is not None:
            if (former := self._leaving.pop(key, None)) is not None:
                former.end()
            watched = self._watched[key] = _Watched(name, since)
            scope = Scope.session(key.tenant_id, key.session_id)
            watched.tasks = [
                asyncio.create_task(self._safely(self._measure, scope, watched)),
                asyncio.create_task(self._safely(self._listen, scope, watched)),
            ]

    def latest(self, key: SessionKey) -> Stats | None:
        """What a session's container used a moment ago, if this process watches it."""
        watched = self._watched.get(key)
        fresh = watched is not None and self._clock() - watched.stats_at < _FRESH_SECONDS
        return watched.stats if watched is not None and fresh else None

    def attend_none(self) -> None:
        """Watches none any more; what is under way ends by itself."""
        for key in list(self._watched):
            self.attend(key, None)

    async def close(self) -> None:
        """Watches none any more."""
        watched = [*self._watched.values(), *self._leaving.values()]
        await end_tasks(*(task for one in watched for task in one.tasks))

    def _leave(self, key: SessionKey, watched: _Watched) -> None:
        self._leaving[key] = watched
        watched.let_go()
        while len(self._leaving) > _REMEMBERED:
            self._leaving.pop(next(iter(self._leaving))).end()

    async def _safely(self, follow: Follow, scope: Scope, watched: _Watched) -> None:
        """Again and again while the container is watched: an engine that goes away comes back."""
        is_known = False
        while True:
            began = self._clock()
            try:
                await follow(scope, watched)
            except (NotThere, NotSupported):
                return
            except (SandboxFault, EventError, TimeoutError, OSError) as error:
                # Said once for as long as it lasts: there are many streams, and an engine may be away all night.
                is_known = is_known and self._clock() - began < _FRESH_SECONDS
                if not is_known:
                    logger.info("telemetry.interrupted", name=watched.name, error=str(error))
                is_known = True
            except Exception:
                logger.exception("telemetry.failed", name=watched.name)
            else:
                if watched.is_leaving:
                    return
            await asyncio.sleep(_AGAIN_SECONDS)

    async def _measure(self, scope: Scope, watched: _Watched) -> None:
        told: Stats | None = None
        async for now in self._provisioner.stats(watched.name):
            watched.stats, watched.stats_at = now, self._clock()
            if is_worth_telling(told, now):
                told = now
                with contextlib.suppress(EventError):
                    await self._reports.say(scope, measured(now))
        if watched.stats is not None and watched.stats is not told:
            # What it leaves is told however soon it comes after the last measures.
            with contextlib.suppress(EventError):
                await self._reports.say(scope, measured(watched.stats))

    async def _listen(self, scope: Scope, watched: _Watched) -> None:
        gathered = Gathered()
        telling = asyncio.create_task(self._tell(scope, gathered))
        fresh = watched.heard is None and time.time() - watched.since < _FRESH_SECONDS
        try:
            async for line in self._provisioner.logs(watched.name, follow=True, tail=_FIRST_LINES if fresh else 0):
                if not _is_old(line, watched):
                    gathered.add(line.text)
                watched.heard = line.at or watched.heard
                await gathered.room.wait()
        finally:
            await end_tasks(telling)
            if gathered.there.is_set():
                with contextlib.suppress(EventError):
                    await self._reports.say(scope, gathered.take())

    async def _tell(self, scope: Scope, gathered: Gathered) -> None:
        while True:
            await gathered.there.wait()
            await asyncio.sleep(_GATHER_SECONDS)
            with contextlib.suppress(EventError):
                await self._reports.say(scope, gathered.take())


def measured(stats: Stats) -> SandboxStats:
    """The measures as an event."""
    return SandboxStats(
        cpu_percent=round(stats.cpu_percent, 1),
        memory_bytes=stats.memory_bytes,
        memory_limit_bytes=stats.memory_limit_bytes,
        disk_bytes=stats.disk_bytes,
        processes=stats.processes,
        received_bytes=stats.received_bytes,
        sent_bytes=stats.sent_bytes,
    )


def _is_old(line: LogLine, watched: _Watched) -> bool:
    """A container that was started again still has the lines of its former life."""
    return line.at is not None and line.at.timestamp() < watched.since - _START_SECONDS

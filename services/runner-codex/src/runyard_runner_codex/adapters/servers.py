"""One app-server process per session, kept warm between its runs and never shared by two of them at once."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import structlog

from runyard_runner.adapter import AgentStart
from runyard_runner_codex.adapters.app_server import AppServer

logger = structlog.get_logger(__name__)


@dataclass(slots=True)
class Warm:
    """A session's process. `thread` is the one that it has loaded."""

    server: AppServer
    thread: str | None = None
    expiry: asyncio.TimerHandle | None = None
    idle_since: float = 0.0


@dataclass(slots=True)
class _Seat:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    claims: int = 0
    warm: Warm | None = None


class Servers:
    """Processes by session. `idle_seconds` is how long an unused one is kept, `idle_limit` how many."""

    def __init__(
        self, boot: Callable[[AgentStart], Awaitable[AppServer]], *, idle_seconds: float, idle_limit: int
    ) -> None:
        self._boot = boot
        self._idle_seconds = idle_seconds
        self._idle_limit = idle_limit
        self._seats: dict[str, _Seat] = {}
        self._ending: set[asyncio.Task[None]] = set()

    @property
    def sessions(self) -> set[str]:
        """Sessions that have a process or wait for one."""
        return set(self._seats)

    async def claim(self, start: AgentStart) -> Warm:
        """The session's process for one turn; waits while another turn of the session holds it."""
        seat = self._seats.setdefault(start.session_id, _Seat())
        seat.claims += 1
        try:
            await seat.lock.acquire()
        except BaseException:
            self._leave(start.session_id, seat)
            raise
        try:
            return await self._ready(start, seat)
        except BaseException:
            seat.lock.release()
            self._leave(start.session_id, seat)
            raise

    async def release(self, session_id: str, *, kill: bool) -> None:
        """Give the process back; with `kill` it and all that it started ends before this returns."""
        seat = self._seats[session_id]
        try:
            if seat.warm is not None and (kill or not seat.warm.server.alive or not self._idle_seconds):
                warm, seat.warm = seat.warm, None
                await warm.server.stop(grace=0.5 if kill else 3.0)
        finally:
            seat.lock.release()
            self._leave(session_id, seat)
        if seat.warm is not None and not seat.claims:
            self._rest(session_id, seat.warm)

    async def close(self) -> None:
        """End every process."""
        seats, self._seats = dict(self._seats), {}
        for seat in seats.values():
            self._expire(seat)
        await asyncio.gather(*self._ending, return_exceptions=True)

    async def _ready(self, start: AgentStart, seat: _Seat) -> Warm:
        warm = seat.warm
        if warm is not None:
            if warm.expiry is not None:
                warm.expiry.cancel()
                warm.expiry = None
            if warm.server.alive:
                warm.server.forget()
                return warm
            seat.warm = None
            await warm.server.stop(grace=0.5)  # what a dead agent has left behind
        seat.warm = Warm(await self._boot(start))
        return seat.warm

    def _rest(self, session_id: str, warm: Warm) -> None:
        loop = asyncio.get_running_loop()
        warm.idle_since = loop.time()
        warm.expiry = loop.call_later(self._idle_seconds, self._forget, session_id)
        idle = {name: seat.warm.idle_since for name, seat in self._seats.items() if seat.warm and not seat.claims}
        if len(idle) > self._idle_limit:
            self._forget(min(idle, key=lambda name: idle[name]))

    def _forget(self, session_id: str) -> None:
        seat = self._seats.get(session_id)
        if seat is not None and not seat.claims:
            del self._seats[session_id]
            self._expire(seat)

    def _expire(self, seat: _Seat) -> None:
        warm, seat.warm = seat.warm, None
        if warm is None:
            return
        if warm.expiry is not None:
            warm.expiry.cancel()
        task = asyncio.create_task(warm.server.stop())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    def _leave(self, session_id: str, seat: _Seat) -> None:
        seat.claims -= 1
        if not seat.claims and seat.warm is None:
            with contextlib.suppress(KeyError):
                del self._seats[session_id]

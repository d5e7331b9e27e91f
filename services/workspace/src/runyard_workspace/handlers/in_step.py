"""Keeps the managed copies that are worked with in step with their remotes, unasked."""

import asyncio
import time
from dataclasses import dataclass

from runyard_chassis import Database, Problem, get_logger
from runyard_events.database import DATABASE_FAULTS
from runyard_events.errors import EventError
from runyard_workspace.handlers.syncs import Fetches
from runyard_workspace.store import InUse, workspaces_in_use

AT_ONCE = 4
"""So that a remote that hangs holds up few others."""
LONGEST_SECONDS = 3600.0
"""Between two tries at a remote that does not answer or lets nobody in."""
_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Turn:
    """When a workspace is fetched next, and how long after that one again, in seconds of the monotonic clock."""

    due: float
    pause: float


class InStep:
    """Fetches every workspace that has files of sessions, a few at a time, as often as `seconds` says.

    A remote that fails is left alone for longer each time. Sessions stay where they are; those that are opened
    from now on begin at what was fetched, and previews of a branch follow it.
    """

    def __init__(self, *, database: Database, fetches: Fetches, seconds: float) -> None:
        self._database = database
        self._fetches = fetches
        self._seconds = seconds
        self._turns: dict[str, _Turn] = {}

    async def run(self) -> None:
        """Looks from time to time until cancelled; at once ends where `seconds` is 0."""
        while self._seconds:
            await asyncio.sleep(self._seconds)
            try:
                await self.look()
            except (EventError, *DATABASE_FAULTS) as error:
                _log.warning("in_step.not_looked_after", error=str(error) or type(error).__name__)

    async def look(self) -> None:
        """Fetches those whose turn it is."""
        async with self._database.session() as session:
            in_use = await workspaces_in_use(session)
        self._turns = {one.workspace: self._turns.get(one.workspace, _Turn(0, self._seconds)) for one in in_use}
        slots = asyncio.Semaphore(AT_ONCE)

        async def take_turn(one: InUse) -> None:
            async with slots:
                self._turns[one.workspace] = self._next(one, came=await self._fetch(one))

        now = time.monotonic()
        await asyncio.gather(*(take_turn(one) for one in in_use if self._turns[one.workspace].due <= now))

    async def _fetch(self, one: InUse) -> bool:
        try:
            return await self._fetches.keep_in_step(one.tenant, one.workspace, one.trouble)
        except Problem as problem:
            _log.info("in_step.left_alone", workspace_id=one.workspace, problem=problem.type)
        except (EventError, *DATABASE_FAULTS) as error:
            _log.warning("in_step.not_fetched", workspace_id=one.workspace, error=str(error) or type(error).__name__)
        return False

    def _next(self, one: InUse, *, came: bool) -> _Turn:
        if came:
            return _Turn(0, self._seconds)
        pause = min(self._turns[one.workspace].pause * 2, max(LONGEST_SECONDS, self._seconds))
        return _Turn(time.monotonic() + pause, pause)

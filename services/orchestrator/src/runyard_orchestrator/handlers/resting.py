"""Sandboxes when all of the installation is taken down: they are brought to rest, and the log says so.

Whoever takes it down leaves a file first (`sandbox_rest_file`). This service ends before what its sandboxes need,
finds the file, and rests them; where it could not, being dead or short of time, it says at its next start that
they were ended, so that nobody reads of containers that vanished. A service that ends for itself alone finds no
file: its sandboxes go on working, and the next one takes them over.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import TypeVar

import structlog

from runyard_events import Conflict, EventError, derived_id
from runyard_events.catalogue import SandboxStopped
from runyard_events.database import DATABASE_FAULTS
from runyard_orchestrator.adapters.ledger import Cause
from runyard_orchestrator.adapters.rest_file import RestFile
from runyard_orchestrator.adapters.sandbox_ledger import SandboxLedger
from runyard_orchestrator.domain.sandbox import IN_USE
from runyard_orchestrator.handlers.sandboxes import Sandboxes
from runyard_orchestrator.store.reading import SessionKey
from runyard_orchestrator.store.reading_sandboxes import SandboxRows
from runyard_sandbox import Provisioner, SandboxFault

logger = structlog.get_logger(__name__)

T = TypeVar("T")

_MOST = 10_000
_AT_ONCE = 8
_SAYING_SECONDS = 5.0
_STOPPING_SECONDS = 12.0
_GRACE_SECONDS = 3.0
"""For an agent to end by itself; what it has not said by then is worked out again when its run is taken up."""
_TRIES = 5
_AT_WORK = frozenset({"creating", "running", "paused"})
_FAULTS = (EventError, SandboxFault, *DATABASE_FAULTS)


class Resting:
    """Of the sandboxes of sessions; `PreviewShutdown` sees to previews."""

    def __init__(
        self,
        file: RestFile,
        *,
        rows: SandboxRows,
        keeper: Sandboxes,
        ledger: SandboxLedger,
        provisioner: Provisioner | None,
    ) -> None:
        self._file = file
        self._rows = rows
        self._keeper = keeper
        self._ledger = ledger
        self._provisioner = provisioner

    async def at_the_start(self) -> None:
        """Says what became of those of which nobody could say it, before anybody looks after them.

        Raises:
            LogUnavailable, one of DATABASE_FAULTS: it cannot be said now.
        """
        if self._file.is_there:
            await _each(await self._rows.to_be_looked_after(_MOST), self._say)

    async def at_the_end(self) -> None:
        """Brings them to rest, once nobody looks after them; what takes too long is left to whoever ends us."""
        if self._provisioner is None or not self._file.is_there:
            return
        async with _as_far_as_possible("said of all", _SAYING_SECONDS):
            await _each(await self._rows.to_be_looked_after(_MOST), self._say)
        async with _as_far_as_possible("all stopped", _STOPPING_SECONDS):
            found = [one for one in await self._provisioner.list() if one.purpose == "agent" and one.status in _AT_WORK]
            await _each([one.name for one in found], self._stop)
            logger.info("sandboxes.at_rest", stopped=len(found))

    async def _say(self, key: SessionKey) -> None:
        cause = Cause(derived_id("resting", key.tenant_id, key.session_id))
        for _ in range(_TRIES):
            sandbox = await self._keeper.latest(key)
            if sandbox.status not in IN_USE:
                return
            try:
                await self._ledger.write(key, sandbox, SandboxStopped(epoch=sandbox.epoch, reason="shutdown"), cause)
            except Conflict as conflict:
                await self._keeper.catch_up(key, conflict)
            else:
                return

    async def _stop(self, name: str) -> None:
        assert self._provisioner is not None  # noqa: S101 - nothing is stopped where there are no sandboxes
        try:
            await self._provisioner.stop(name, grace_seconds=_GRACE_SECONDS)
        except SandboxFault as error:
            logger.warning("sandbox.not_stopped", name=name, error=str(error))


@asynccontextmanager
async def _as_far_as_possible(what: str, seconds: float) -> AsyncGenerator[None]:
    """The end of the service waits for none of this for ever."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except (TimeoutError, *_FAULTS) as error:
        logger.warning("sandboxes.not_all_at_rest", not_done=what, error=str(error) or type(error).__name__)


async def _each(items: Iterable[T], act: Callable[[T], Awaitable[None]]) -> None:
    """A few at the same time."""
    slots = asyncio.Semaphore(_AT_ONCE)

    async def one(item: T) -> None:
        async with slots:
            await act(item)

    await asyncio.gather(*map(one, items))

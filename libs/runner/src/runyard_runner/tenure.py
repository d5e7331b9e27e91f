"""Holding a run's lease for as long as it is worked on."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable

import structlog

from runyard_events.errors import LogUnavailable
from runyard_events.leases import RENEW_SECONDS, Lease, Leases
from runyard_events.tasks import end_tasks

logger = structlog.get_logger(__name__)


class Tenure:
    """A lease that is renewed. One that expired while the log was away is taken again, if nobody else has it."""

    def __init__(self, leases: Leases, lease: Lease) -> None:
        self._leases = leases
        self._lease = lease
        self.lost: Callable[[], None] = lambda: None
        """Called once, when another holder has the lease."""

    async def keep(self) -> None:
        """Renews until the lease is lost to another holder."""
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            try:
                lease = await self._leases.renew(self._lease)
                lease = lease or await self._leases.acquire(self._lease.run_id, self._lease.holder)
            except LogUnavailable:
                continue
            if lease is None:
                logger.warning("lease.lost", run_id=self._lease.run_id)
                self.lost()
                return
            self._lease = lease

    async def release(self) -> None:
        """Gives the lease back."""
        with contextlib.suppress(LogUnavailable, TimeoutError):
            async with asyncio.timeout(2):
                await self._leases.release(self._lease)


@contextlib.asynccontextmanager
async def tenure(leases: Leases, run_id: str, holder: str) -> AsyncGenerator[Tenure | None]:
    """The run's lease for the time of the block; None when another holder has it."""
    lease = await leases.acquire(run_id, holder)
    if lease is None:
        yield None
        return
    held = Tenure(leases, lease)
    keeping = asyncio.create_task(held.keep())
    try:
        yield held
    finally:
        await end_tasks(keeping)
        await held.release()

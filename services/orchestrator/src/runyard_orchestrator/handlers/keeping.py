"""Keeps the service's loops going: a bug in one is logged and the loop begins again, it never just ends."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import structlog

from runyard_events.tasks import SIDE_BY_SIDE_SECONDS, end_tasks

logger = structlog.get_logger(__name__)

_LONGEST_PAUSE = 10.0


@asynccontextmanager
async def kept_going(**loops: Callable[[], Awaitable[None]]) -> AsyncGenerator[None, None]:
    """Runs these loops in the background until the context ends."""
    tasks = [asyncio.create_task(_keep(name, loop), name=name) for name, loop in loops.items()]
    try:
        yield
    finally:
        await end_tasks(*tasks, patience=2 * SIDE_BY_SIDE_SECONDS)


async def _keep(name: str, loop: Callable[[], Awaitable[None]]) -> None:
    pause = 0.5
    while True:
        try:
            await loop()
        except Exception:
            logger.exception("loop.failed", loop=name)
        await asyncio.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE)

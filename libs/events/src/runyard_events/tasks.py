"""Tasks that talk to NATS, and how they end."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager
from typing import Any


async def end_tasks(*tasks: "asyncio.Future[Any] | None", patience: float = 0.5) -> None:
    """Cancels tasks and waits until every one of them has ended, whatever it ended with.

    More than one cancellation may be needed: up to Python 3.11 `asyncio.wait_for`, which nats-py awaits
    its answers with, loses one that comes in the same moment as the answer. `patience` is how many
    seconds a task has before it is cancelled again: more than its own clean-up takes.
    """
    open_tasks = {task for task in tasks if task is not None and not task.done()}
    while open_tasks:
        for task in open_tasks:
            task.cancel()
        _, open_tasks = await asyncio.wait(open_tasks, timeout=patience)


@asynccontextmanager
async def in_background(work: Coroutine[Any, Any, None]) -> AsyncGenerator[None]:
    """Does this work beside what happens in the context; it has ended when the context has."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        await end_tasks(task)

"""Tasks that talk to NATS, and how they end."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

T = TypeVar("T")

SIDE_BY_SIDE_SECONDS = 2.0
"""The patience with each of those that run side by side; whoever ends them all has more."""


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


async def side_by_side(*work: Coroutine[Any, Any, None]) -> None:
    """Does all of this at once until one fails or this is cancelled; all of it has ended then.

    A `TaskGroup` would not do for what runs for ever: it cancels each of its tasks once, however often it is
    cancelled itself, and waits for ever for one that has lost that (see `end_tasks`).
    """
    tasks = [asyncio.create_task(each) for each in work]
    try:
        await asyncio.gather(*tasks)
    finally:
        # What works here may have tasks of its own to end.
        await end_tasks(*tasks, patience=SIDE_BY_SIDE_SECONDS)


async def merged(streams: Iterable[AsyncIterator[T]]) -> AsyncGenerator[T]:
    """What comes of any of these, as it comes and no sooner than it is asked for, until all have ended or one fails."""
    waiting = {asyncio.ensure_future(anext(one)): one for one in streams}
    try:
        while waiting:
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                stream = waiting.pop(task)
                try:
                    one = task.result()
                except StopAsyncIteration:
                    continue
                waiting[asyncio.ensure_future(anext(stream))] = stream
                yield one
    finally:
        await end_tasks(*waiting)


@asynccontextmanager
async def in_background(work: Coroutine[Any, Any, None]) -> AsyncGenerator[None]:
    """Does this work beside what happens in the context; it has ended when the context has."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        await end_tasks(task)

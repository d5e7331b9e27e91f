"""A task that lost its cancellation is ended all the same."""

import asyncio

from runyard_events.tasks import end_tasks


async def test_a_task_that_swallows_its_first_cancellation_is_ended() -> None:
    async def stubborn() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.Event().wait()

    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await end_tasks(task, None)
    assert task.cancelled()


async def test_an_error_of_an_ended_task_is_not_raised_again() -> None:
    async def failing() -> None:
        raise ValueError

    task = asyncio.create_task(failing())
    await asyncio.sleep(0)
    await end_tasks(task)
    assert isinstance(task.exception(), ValueError)

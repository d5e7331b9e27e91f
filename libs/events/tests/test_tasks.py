"""A task that lost its cancellation is ended all the same."""

import asyncio

from runyard_events.tasks import end_tasks, in_background


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


async def test_work_in_the_background_goes_on_meanwhile_and_has_ended_afterwards() -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with asyncio.timeout(5), in_background(work()):
        await begun.wait()
        assert not ended.is_set()
    assert ended.is_set()

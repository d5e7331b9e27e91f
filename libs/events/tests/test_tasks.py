"""A task that lost its cancellation is ended all the same."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from runyard_events.tasks import end_tasks, in_background, merged, side_by_side


async def test_a_task_that_swallows_its_first_cancellation_is_ended() -> None:
    async def stubborn() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.Event().wait()

    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    async with asyncio.timeout(20):
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

    async with asyncio.timeout(20), in_background(work()):
        await begun.wait()
        assert not ended.is_set()
    assert ended.is_set()


async def test_of_what_runs_side_by_side_one_that_loses_its_cancellation_is_ended_with_the_others() -> None:
    ended: list[str] = []

    async def plain() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("plain")

    async def stubborn() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            try:
                await asyncio.Event().wait()
            finally:
                ended.append("stubborn")

    task = asyncio.create_task(side_by_side(plain(), stubborn()))
    await asyncio.sleep(0.01)
    async with asyncio.timeout(10):
        await end_tasks(task, patience=4)
    assert ended == ["plain", "stubborn"]


async def test_a_failure_of_one_side_by_side_ends_the_others_and_is_raised() -> None:
    ended = asyncio.Event()

    async def going_on() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def failing() -> None:
        await asyncio.sleep(0.01)
        raise ValueError("it")

    with pytest.raises(ValueError, match="it"):
        await side_by_side(going_on(), failing())
    assert ended.is_set()


async def test_streams_that_are_merged_come_as_they_come_and_are_closed_with_the_one_that_reads_them() -> None:
    closed: list[str] = []
    gates = {name: asyncio.Queue[int | None]() for name in ("a", "b")}

    async def stream(name: str) -> AsyncGenerator[str]:
        try:
            while (number := await gates[name].get()) is not None:
                yield f"{name}{number}"
        finally:
            closed.append(name)

    async with asyncio.timeout(20), aclosing(merged(stream(name) for name in gates)) as lines:
        for name, number in (("b", 1), ("a", 1), ("a", 2)):
            gates[name].put_nowait(number)
            assert await anext(lines) == f"{name}{number}"
        gates["a"].put_nowait(None)
        gates["b"].put_nowait(2)
        assert await anext(lines) == "b2"
    assert sorted(closed) == ["a", "b"]


async def test_what_goes_wrong_with_one_of_merged_streams_reaches_the_reader() -> None:
    async def endless() -> AsyncGenerator[str]:
        await asyncio.Event().wait()
        yield ""

    async def failing() -> AsyncGenerator[str]:
        yield "one"
        raise ValueError("broken")

    async with asyncio.timeout(20):
        lines = merged([endless(), failing()])
        assert await anext(lines) == "one"
        with pytest.raises(ValueError, match="broken"):
            await anext(lines)

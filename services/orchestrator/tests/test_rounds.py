"""Everybody who is woken is looked at: at once, each by itself, once more if woken meanwhile, or later."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from structlog.testing import capture_logs

from runyard_events.tasks import end_tasks
from runyard_orchestrator.handlers.rounds import Rounds
from runyard_orchestrator.store.reading import SessionKey

A, B = SessionKey("t", "a"), SessionKey("t", "b")


class Looking:
    """Looks that last until they are let go."""

    def __init__(self) -> None:
        self.rounds = Rounds[SessionKey](self.look)
        self.begun: asyncio.Queue[SessionKey] = asyncio.Queue()
        self.at_once: dict[SessionKey, int] = {A: 0, B: 0}
        self.most = 0
        self.free = asyncio.Event()

    async def look(self, key: SessionKey) -> None:
        self.at_once[key] += 1
        self.most = max(self.most, self.at_once[key])
        self.begun.put_nowait(key)
        try:
            await self.free.wait()
        finally:
            self.at_once[key] -= 1


@pytest.fixture
async def looking() -> AsyncIterator[Looking]:
    one = Looking()
    task = asyncio.create_task(one.rounds.run())
    yield one
    await end_tasks(task)
    assert not any(one.at_once.values()), "no look outlives the rounds"


async def test_one_that_takes_long_keeps_no_other_waiting(looking: Looking) -> None:
    looking.rounds.wake(A)
    assert await looking.begun.get() == A
    looking.rounds.wake(B)
    assert await looking.begun.get() == B


async def test_one_that_is_woken_meanwhile_is_looked_at_once_more_and_never_twice_at_a_time(looking: Looking) -> None:
    looking.rounds.wake(A)
    await looking.begun.get()
    looking.rounds.wake(A)
    looking.rounds.wake(A, B)
    assert await looking.begun.get() == B
    looking.free.set()
    assert await looking.begun.get() == A
    looking.rounds.wake(B)
    assert await looking.begun.get() == B, "the two wishes for A were one look"
    assert looking.most == 1


async def test_a_later_look_takes_the_place_of_an_earlier_wish_and_a_wake_of_both(looking: Looking) -> None:
    looking.free.set()
    looking.rounds.later(A, 3600)
    looking.rounds.later(A, 0.01)
    assert await looking.begun.get() == A
    looking.rounds.later(A, 0.01)
    looking.rounds.wake(A)
    assert await looking.begun.get() == A
    looking.rounds.later(B, 0.05)
    assert await looking.begun.get() == B, "the wish for A went with its look"


async def test_a_look_that_fails_after_all_is_seen_in_the_log_and_holds_up_nobody() -> None:
    looked: asyncio.Queue[SessionKey] = asyncio.Queue()

    async def look(key: SessionKey) -> None:
        looked.put_nowait(key)
        if key == A:
            raise ValueError("a bug")

    rounds = Rounds[SessionKey](look)
    task = asyncio.create_task(rounds.run())
    with capture_logs() as said:
        rounds.wake(A)
        assert await looked.get() == A
        rounds.wake(A, B)
        assert {await looked.get(), await looked.get()} == {A, B}
        await end_tasks(task)
    failed = [one for one in said if one["event"] == "look.failed"]
    assert [str(one["exc_info"]) for one in failed] == ["a bug", "a bug"]


def test_what_fails_is_looked_at_later_and_later_until_it_goes_well(monkeypatch: pytest.MonkeyPatch) -> None:
    rounds, pauses = Looking().rounds, list[tuple[SessionKey, float]]()

    def later(key: SessionKey, seconds: float) -> None:
        pauses.append((key, seconds))

    monkeypatch.setattr(rounds, "later", later)
    for _ in range(7):
        rounds.postpone(A)
    rounds.postpone(B)
    assert pauses == [*((A, pause) for pause in (1, 2, 4, 8, 16, 30, 30)), (B, 1)]

    rounds.went_well(A)
    rounds.postpone(A)
    assert pauses[-1] == (A, 1)

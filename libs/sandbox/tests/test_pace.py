"""A budget of bytes that refills."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from runyard_sandbox.pace import Pace, Paces, Rate


@dataclass
class Clock:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_is_free_and_what_is_beyond_it_is_waited_for() -> None:
    clock = Clock()
    pace = Pace(Rate(each_second=100, burst=1000), clock)
    assert pace.take(1000) == 0
    assert pace.take(250) == 2.5
    clock.now += 2
    assert pace.owed == 0.5
    clock.now += 1
    assert pace.owed == 0


def test_nobody_saves_more_than_a_burst() -> None:
    clock = Clock()
    pace = Pace(Rate(each_second=100, burst=1000), clock)
    clock.now += 3600
    assert pace.take(1100) == 1


@given(st.lists(st.tuples(st.integers(0, 10_000), st.floats(0, 10)), max_size=50))
def test_whoever_waits_as_told_sends_no_more_than_his_rate_and_one_overdraft(sent: list[tuple[int, float]]) -> None:
    clock = Clock()
    rate = Rate(each_second=100, burst=1000)
    pace, total, start = Pace(rate, clock), 0, clock.now
    for size, idle in sent:
        clock.now += pace.owed + idle
        pace.take(size)
        total += size
        assert total <= rate.burst + rate.each_second * (clock.now - start) + size + 1e-6


def test_who_comes_back_has_what_is_left_of_his_budget_however_many_came_meanwhile() -> None:
    paces = Paces(Rate(each_second=1, burst=10))
    paces.of("flood").take(1_000_000)
    for number in range(5000):
        paces.of(str(number))
    assert paces.of("flood").owed > 900_000

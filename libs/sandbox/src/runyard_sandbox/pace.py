"""How fast each sender may send: a budget that refills all the time, from which what has come is taken."""

import time
from collections.abc import Callable
from dataclasses import dataclass

_MANY = 1024


@dataclass(frozen=True, slots=True)
class Rate:
    """Bytes in a second for as long as one likes, and beyond them so many at once."""

    each_second: int
    burst: int


class Pace:
    """One sender's budget. It may be overdrawn by what has come already; then nothing more is taken for a while."""

    __slots__ = ("_clock", "_left", "_rate", "_seen")

    def __init__(self, rate: Rate, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._clock = clock
        self._left = float(rate.burst)
        self._seen = clock()

    def take(self, size: int) -> float:
        """Takes so many bytes; returns the seconds until the budget is not overdrawn any more, mostly 0."""
        self._refill()
        self._left -= size
        return self.owed

    @property
    def owed(self) -> float:
        """The seconds until something may be sent again; 0: now."""
        self._refill()
        return max(0.0, -self._left / self._rate.each_second)

    @property
    def is_full(self) -> bool:
        """Whether it is as good as a new one."""
        self._refill()
        return self._left >= self._rate.burst

    def _refill(self) -> None:
        now = self._clock()
        self._left = min(self._rate.burst, self._left + (now - self._seen) * self._rate.each_second)
        self._seen = now


class Paces:
    """The budget of each sender, by name. One who comes back has what is left of his."""

    def __init__(self, rate: Rate) -> None:
        self._rate = rate
        self._of: dict[str, Pace] = {}

    def of(self, sender: str) -> Pace:
        """The sender's budget."""
        pace = self._of.get(sender)
        if pace is None:
            if len(self._of) >= _MANY:
                self._of = {name: one for name, one in self._of.items() if not one.is_full}
            pace = self._of[sender] = Pace(self._rate)
        return pace

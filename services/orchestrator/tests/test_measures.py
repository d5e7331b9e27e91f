"""Of a container's measures the log is told the ones that are worth it."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from runyard_orchestrator.domain.measures import is_worth_telling
from runyard_sandbox import Stats


def test_measures_are_told_every_ten_seconds_and_when_they_jump() -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)

    def told(samples: Sequence[tuple[float, float]], full: frozenset[float] = frozenset()) -> list[float]:
        last: Stats | None = None
        found: list[float] = []
        for second, cpu in samples:
            at = start + timedelta(seconds=second)
            now = Stats(at=at, cpu_percent=cpu, memory_bytes=100, disk_bytes=60_000_000 * (second in full))
            if is_worth_telling(last, now):
                last = now
                found.append(second)
        return found

    assert told([(second, 5.0) for second in range(25)]) == [0, 10, 20]
    assert told([(0, 5.0), (1, 90.0), (2, 90.0), (3, 91.0), (12, 90.0)]) == [0, 2, 12]
    assert told([(second, 5.0) for second in range(25)], frozenset(range(4, 25))) == [0, 4, 14, 24]

"""Which of a container's measures are told: seldom, and at once when much has changed. Pure."""

from datetime import timedelta

from runyard_sandbox import Stats

EVERY = timedelta(seconds=10)
"""Between two that are told for no other reason."""
SOONEST = timedelta(seconds=2)
_CPU_STEP = 30.0
"""Percent of a core."""
_MEMORY_STEP = 0.25
"""Of what it was."""
_LEAST_STEP = 32 * 1024 * 1024
"""Bytes, of memory and of the disk."""


def is_worth_telling(told: Stats | None, now: Stats) -> bool:
    """Whether these measures are told after those that were told last."""
    if told is None:
        return True
    since = now.at - told.at
    if since >= EVERY:
        return True
    memory_step = max(told.memory_bytes * _MEMORY_STEP, _LEAST_STEP)
    has_jumped = (
        abs(now.cpu_percent - told.cpu_percent) >= _CPU_STEP
        or abs(now.memory_bytes - told.memory_bytes) >= memory_step
        or abs((now.disk_bytes or 0) - (told.disk_bytes or 0)) >= _LEAST_STEP
    )
    return since >= SOONEST and has_jumped

"""Git's progress lines, read."""

import re
from dataclasses import dataclass

_LINE = re.compile(r"(?:remote: )?(?P<phase>[A-Z][A-Za-z ]+):\s+(?:(?P<percent>\d{1,3})%|(?P<count>\d+))(?P<rest>.*)")
_SIZE = re.compile(r"[\d.]+ [KMGT]?i?B(?: \| [\d.]+ [KMGT]?i?B/s)?")

PHASES = {
    "Enumerating objects": "counting",
    "Counting objects": "counting",
    "Compressing objects": "compressing",
    "Receiving objects": "receiving",
    "Resolving deltas": "resolving",
    "Updating files": "checking_out",
    "Checking out files": "checking_out",
    "Filtering content": "checking_out",
}


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a clone is. `percent` is None where Git only counts."""

    phase: str
    percent: int | None = None
    message: str | None = None


def parse_progress(line: str) -> Progress | None:
    """Reads one line of `git clone --progress`; None when it is about something else."""
    match = _LINE.match(line.strip())
    if match is None or match["phase"] not in PHASES:
        return None
    percent = int(match["percent"]) if match["percent"] else None
    size = _SIZE.search(match["rest"])
    return Progress(PHASES[match["phase"]], percent, size.group() if size else None)


@dataclass
class Pace:
    """Thins progress out: each new phase, then steps of `step` percent, at most one per `interval`."""

    interval: float = 0.5
    step: int = 5
    _last: Progress | None = None
    _at: float = float("-inf")

    def due(self, progress: Progress, now: float) -> bool:
        """Whether this one is worth telling at time `now` (seconds, monotonic)."""
        last = self._last
        new_phase = last is None or last.phase != progress.phase
        moved = last is not None and (progress.percent or 0) - (last.percent or 0) >= self.step
        if not new_phase and not (moved and now - self._at >= self.interval):
            return False
        self._last, self._at = progress, now
        return True

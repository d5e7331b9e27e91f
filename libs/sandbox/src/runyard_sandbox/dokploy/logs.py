"""Lines out of what Dokploy answers when it is asked for the logs again and again."""

import re
from datetime import datetime

from runyard_sandbox.provisioner import LogLine

_LINE = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z) ?(.*)", re.DOTALL)


class Seen:
    """Which lines were given already: those up to a moment, and those of that moment."""

    def __init__(self) -> None:
        self._last = ""
        self._at_last: list[str] = []

    def fresh(self, text: str) -> list[LogLine]:
        """The lines of an answer that no earlier answer had."""
        fresh: list[LogLine] = []
        matched = (_LINE.match(line) for line in text.splitlines())
        for moment, words in (found.groups() for found in matched if found):
            if moment < self._last or (moment == self._last and words in self._at_last):
                continue
            if moment > self._last:
                self._last, self._at_last = moment, []
            self._at_last.append(words)
            fresh.append(LogLine(_time(moment), words))
        return fresh


def _time(moment: str) -> datetime:
    """Docker's nanoseconds, cut to what a datetime holds."""
    whole, _, fraction = moment.removesuffix("Z").partition(".")
    return datetime.fromisoformat(f"{whole}.{fraction[:6]:0<6}+00:00")

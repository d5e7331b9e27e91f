"""Lines out of what Dokploy answers when it is asked for the logs again and again."""

from runyard_sandbox.provisioner import LogLine
from runyard_sandbox.timestamps import STAMPED, moment


class Seen:
    """Which lines were given already: those up to a moment, and those of that moment."""

    def __init__(self) -> None:
        self._last = ""
        self._at_last: list[str] = []

    def fresh(self, text: str) -> list[LogLine]:
        """The lines of an answer that no earlier answer had."""
        fresh: list[LogLine] = []
        matched = (STAMPED.match(line) for line in text.splitlines())
        for stamp, words in (found.groups() for found in matched if found):
            if stamp < self._last or (stamp == self._last and words in self._at_last):
                continue
            if stamp > self._last:
                self._last, self._at_last = stamp, []
            self._at_last.append(words)
            fresh.append(LogLine(moment(stamp), words))
        return fresh

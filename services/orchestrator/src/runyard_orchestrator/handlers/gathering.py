"""Lines of a container on their way into the log: so many at a time, and of what comes faster the rest is counted."""

import asyncio
from dataclasses import dataclass, field

from runyard_events.catalogue import SandboxLogged

_MOST_LINES = 200
_MOST_DROPPED = 5000
"""Of what comes faster the rest is not even read for the moment: one container that floods leaves time for others."""
_WIDTH = 2000


@dataclass(slots=True)
class Gathered:
    """What has been read and not been told. Whoever reads waits for `room` behind each line."""

    lines: list[str] = field(default_factory=list[str])
    dropped: int = 0
    there: asyncio.Event = field(default_factory=asyncio.Event)
    room: asyncio.Event = field(default_factory=asyncio.Event)
    """Set while it is worth reading on."""
    told: asyncio.Event = field(default_factory=asyncio.Event)
    """Set while there is nothing that has not been written: by whoever writes."""

    def __post_init__(self) -> None:
        self.room.set()
        self.told.set()

    def add(self, text: str) -> None:
        """One more line."""
        if len(self.lines) < _MOST_LINES:
            self.lines.append(text[:_WIDTH])
        else:
            self.dropped += 1
            if self.dropped >= _MOST_DROPPED:
                self.room.clear()
        self.told.clear()
        self.there.set()

    def take(self) -> SandboxLogged:
        """All of it, to be told."""
        taken = SandboxLogged(lines=tuple(self.lines), dropped=self.dropped)
        self.lines, self.dropped = [], 0
        self.there.clear()
        self.room.set()
        return taken

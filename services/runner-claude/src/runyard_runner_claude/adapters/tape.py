"""The lines between the SDK and Claude's process, both ways, in the order in which they passed."""

import asyncio
from collections import deque
from dataclasses import dataclass

from runyard_runner.adapter import Direction
from runyard_runner_claude.native import Json

READ_AHEAD = 256


@dataclass(frozen=True, slots=True)
class Line:
    """One line of JSON and who wrote it."""

    raw: Json
    direction: Direction = "received"


class Tape:
    """A queue that holds the reader back when nobody takes its lines, but never the writer.

    The taker may itself write to Claude: were writing to wait for room, both would wait for ever.
    """

    def __init__(self, read_ahead: int = READ_AHEAD) -> None:
        self._lines: deque[Line] = deque()
        self._read_ahead = read_ahead
        self._room = asyncio.Event()
        self._filled = asyncio.Event()
        self._ended = False

    async def received(self, raw: Json) -> None:
        """Add a line that Claude wrote, once there is room for it."""
        while len(self._lines) >= self._read_ahead:
            self._room.clear()
            await self._room.wait()
        self._add(Line(raw))

    def sent(self, raw: Json) -> None:
        """Add a line that was written to Claude."""
        self._add(Line(raw, "sent"))

    def end(self) -> None:
        """No more lines will come."""
        self._ended = True
        self._filled.set()

    async def take(self) -> Line | None:
        """The next line, None after the last."""
        while not self._lines:
            if self._ended:
                return None
            self._filled.clear()
            await self._filled.wait()
        line = self._lines.popleft()
        self._room.set()
        return line

    def _add(self, line: Line) -> None:
        self._lines.append(line)
        self._filled.set()

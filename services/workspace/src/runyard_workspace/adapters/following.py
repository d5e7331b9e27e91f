"""What Git says while it talks to a remote: progress, and its last words."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable

from runyard_workspace.domain.progress import Pace, Progress, parse_progress

MAX_LINE = 8 * 1024
KEPT_LINES = 40

Tell = Callable[[Progress], Awaitable[None]]


async def follow(stream: asyncio.StreamReader, said: list[str], tell: Tell) -> None:
    """Reads to the end: progress worth telling is told, the last of the other lines are kept in `said`."""
    pace = Pace()
    async for line in _lines(stream):
        progress = parse_progress(line)
        if progress is None:
            said.append(line)
            del said[:-KEPT_LINES]
        elif pace.due(progress, time.monotonic()):
            await tell(progress)


async def _lines(stream: asyncio.StreamReader) -> AsyncIterator[str]:
    """Lines that end with a newline or, as progress does, with a carriage return."""
    rest = b""
    while chunk := await stream.read(4096):
        *lines, rest = (rest + chunk).replace(b"\r", b"\n").split(b"\n")
        rest = rest[-MAX_LINE:]
        for line in lines:
            if line.strip():
                yield line.decode(errors="replace")
    if rest.strip():
        yield rest.decode(errors="replace")

"""Reads what a process printed, while it prints."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from runyard_sandbox.process.output import MARKS, STAMP, former
from runyard_sandbox.provisioner import LogLine


class Reading:
    """Reads on where it was, across the change of files."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._inode = 0
        self._at = 0
        self._rest = b""

    def tail(self, lines: int) -> list[LogLine]:
        """The last lines that there are."""
        found = [*_whole(former(self._path)), *self.fresh()]
        return found[-lines:] if lines > 0 else []

    def fresh(self) -> list[LogLine]:
        """What was written since."""
        return list(self._fresh())

    def _fresh(self) -> Iterator[LogLine]:
        before = former(self._path)
        if self._inode and _inode(self._path) != self._inode and _inode(before) == self._inode:
            yield from self._read(before)
            self._inode, self._at, self._rest = 0, 0, b""
        yield from self._read(self._path)

    def _read(self, path: Path) -> Iterator[LogLine]:
        try:
            with path.open("rb") as file:
                self._inode = os.fstat(file.fileno()).st_ino
                file.seek(self._at)
                data = file.read()
        except OSError:
            return
        self._at += len(data)
        *whole, self._rest = (self._rest + data).split(b"\n")
        for line in whole:
            yield _parsed(line)


def _inode(path: Path) -> int:
    try:
        return path.stat().st_ino
    except OSError:
        return 0


def _whole(path: Path) -> list[LogLine]:
    try:
        return [_parsed(line) for line in path.read_bytes().splitlines()]
    except OSError:
        return []


def _parsed(line: bytes) -> LogLine:
    stamp, mark, text = [*line.decode(errors="replace").split(" ", 2), "", ""][:3]
    try:
        at = datetime.strptime(stamp, STAMP).replace(tzinfo=UTC)
    except ValueError:
        return LogLine(None, line.decode(errors="replace"))
    return LogLine(at, text, "stderr" if mark == MARKS["stderr"] else "stdout")

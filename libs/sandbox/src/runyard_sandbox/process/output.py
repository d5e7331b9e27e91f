"""What a process printed, in a file that does not grow for ever."""

import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

MOST_BYTES = 5 * 1024**2
"""Of the file that is written to; the one before it is kept beside it."""
_LONGEST_LINE = 16 * 1024
STAMP = "%Y-%m-%dT%H:%M:%S.%fZ"
MARKS = {"stdout": "o", "stderr": "e"}


def former(path: Path) -> Path:
    """Where the lines before those of the file are."""
    return path.with_name(f"{path.name}.1")


class Output:
    """Writes lines with their time and stream, from several threads."""

    def __init__(self, path: Path, most_bytes: int = MOST_BYTES) -> None:
        self._path = path
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self._file: IO[bytes] = path.open("ab")

    def pump(self, source: IO[bytes], stream: str) -> None:
        """Until the source ends. A line that is too long is cut."""
        while line := source.readline(_LONGEST_LINE):
            self.write(line.rstrip(b"\r\n"), stream)

    def write(self, line: bytes, stream: str) -> None:
        """One line."""
        head = f"{datetime.now(UTC).strftime(STAMP)} {MARKS[stream]} ".encode()
        with self._lock:
            self._file.write(head + line + b"\n")
            self._file.flush()
            if self._file.tell() >= self._most_bytes:
                self._file.close()
                self._path.replace(former(self._path))
                self._file = self._path.open("ab")

"""Git that waits for a worktree's files: for a pipe's other end, or for somebody who holds a file.

Git opens `.gitignore`, `.gitattributes` and a nested repository's HEAD as they come. Looking at them before would not
do: an agent puts a pipe there in between. So Git itself is looked at: on files it works or waits for the disk, and a
process that does neither for a while, or reads a named pipe, would not come to an end by itself.
"""

import asyncio
import contextlib
import os
import stat
from pathlib import Path

LOOK_SECONDS = 0.25
LOOKS = 8
"""Without any work in between. Counted rather than timed: where this process is what stands still, Git may too."""
NAMES_LOOKED_AT = 200_000

_READ_BY_GIT = (".gitignore", ".gitattributes", "HEAD")


async def stalled(pid: int) -> None:
    """Ends when a process waits for something that is not the disk. Where the system does not tell, it never does."""
    done, idle = -1, 0
    while idle < LOOKS:
        await asyncio.sleep(LOOK_SECONDS)
        with contextlib.suppress(OSError):  # it has just ended, or there is no such folder on this system
            if _reads_a_pipe(pid):
                return
            ticks, sleeps = _work(pid)
            idle = idle + 1 if sleeps and ticks == done else 0
            done = ticks


def what_stalls(root: Path) -> str:
    """What in a worktree may have made Git wait, in words. Looks at every name, so not in the event loop."""
    pipe = _first_pipe(root)
    if pipe is None:
        return "Git waited for a file that somebody holds"
    return f"Git waited for a pipe: {pipe.encode(errors='backslashreplace').decode()}"


def _work(pid: int) -> tuple[int, bool]:
    """How long a process has worked, in ticks, and whether all of its threads sleep, not even waiting for the disk."""
    states: set[bytes] = set()
    ticks = 0
    for thread in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208 - hardly a thing, four times a second
        fields = Path(f"/proc/{pid}/task/{thread}/stat").read_bytes().rpartition(b")")[2].split()
        states.add(fields[0])
        ticks += int(fields[11]) + int(fields[12])
    return ticks, states == {b"S"}


def _reads_a_pipe(pid: int) -> bool:
    """Whether a process has a pipe open that has a name. Its standard streams have none."""
    folder = f"/proc/{pid}/fd"
    for each in os.listdir(folder):  # noqa: PTH208
        file = f"{folder}/{each}"
        with contextlib.suppress(FileNotFoundError):
            if stat.S_ISFIFO(os.stat(file).st_mode) and os.readlink(file).startswith("/"):  # noqa: PTH115, PTH116
                return True
    return False


def _first_pipe(root: Path) -> str | None:
    """The first pipe that Git would read, or else the first of all."""
    other, left = None, NAMES_LOOKED_AT
    pending = [str(root)]
    while pending and left > 0:
        with contextlib.suppress(OSError), os.scandir(pending.pop()) as found:
            for entry in found:
                left -= 1
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)
                elif stat.S_ISFIFO(entry.stat(follow_symlinks=False).st_mode):
                    path = os.path.relpath(entry.path, root)
                    if entry.name in _READ_BY_GIT:
                        return path
                    other = other or path
    return other

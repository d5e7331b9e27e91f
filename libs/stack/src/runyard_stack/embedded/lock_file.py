"""The lock file of a PostgreSQL that was killed and that nobody has reaped.

PostgreSQL takes a process that is dead but not reaped for a running one and refuses to start. Where the
first process reaps late, or never (a container without an init), it would refuse for as long.
"""

import contextlib
import time
from pathlib import Path

import psutil

LOOK_SECONDS = 0.05


def release_dead_lock(data: Path, patience: float) -> None:
    """Removes `postmaster.pid` when its process is dead and no process of that server works on the data any more.

    `patience`: seconds that the dead server's other processes have to end, which they do by themselves.
    """
    lock = data / "postmaster.pid"
    deadline = time.monotonic() + patience
    while _is_dead(lock):
        if not _works_on(data):
            lock.unlink(missing_ok=True)
            return
        if time.monotonic() > deadline:
            return  # PostgreSQL itself then says that somebody still has the data
        time.sleep(LOOK_SECONDS)


def _is_dead(lock: Path) -> bool:
    """Whether the process that the lock names is dead and waits to be reaped."""
    try:
        pid = int(lock.read_text().split("\n", 1)[0])
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except (OSError, ValueError, psutil.Error):
        return False


def _works_on(data: Path) -> bool:
    folder = str(data.resolve())
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.cwd() == folder:
                return True
    return False

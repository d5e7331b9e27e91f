"""Stays beside one process: writes down what it prints and how it ends, keeps its limits, and leaves nothing of it.

`python -m runyard_sandbox.process.supervisor <folder>`. It outlives the service: a restart of that ends nothing.
SIGTERM: everything is asked to end. SIGUSR1: everything is killed.
"""

import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, cast

import psutil

from runyard_sandbox.process.identity import family, identity_of, signal_quietly
from runyard_sandbox.process.output import Output
from runyard_sandbox.process.record import Ended, Folder, Record, Running

_SUBREAPER = 36
"""`PR_SET_CHILD_SUBREAPER`: what a descendant leaves behind becomes ours, not process 1's."""
_LOOK_SECONDS = 1.0
_KILL_LOOK_SECONDS = 0.02
_FLUSH_SECONDS = 2.0
_OPEN_FILES = 8192
_NICER = 5
_KILLED = 128 + signal.SIGKILL


class Supervisor:
    """One process, and all that it starts."""

    def __init__(self, folder: Folder, record: Record) -> None:
        self._folder = folder
        self._record = record
        self._output = Output(folder.log)
        self._over: str | None = None
        self._child = 0
        self._ending = threading.Event()

    def run(self, tell: IO[str]) -> None:
        """From its start to its end."""
        for each in (signal.SIGTERM, signal.SIGUSR1):
            signal.signal(each, self._on_signal)
        _adopt_descendants()
        try:
            process = self._start()
        except OSError as error:
            _tell(tell, {"error": f"{error.strerror}: {error.filename or self._record.command[0]}"})
            return
        pumps = [self._pump(process.stdout, "stdout"), self._pump(process.stderr, "stderr")]
        self._child = process.pid
        me, leader = identity_of(os.getpid()), identity_of(process.pid)
        assert me is not None  # noqa: S101 (it is this process)
        assert leader is not None  # noqa: S101 (a child is there until it has been waited for)
        self._folder.began(Running(me, leader))
        _tell(tell, {"pid": process.pid})
        watch = threading.Thread(target=self._watch, daemon=True)
        watch.start()
        code = process.wait()
        self._ending.set()
        _kill_all()
        for pump in pumps:
            pump.join(_FLUSH_SECONDS)
        _reap()
        self._folder.end(
            Ended(code if code >= 0 else 128 - code, out_of_memory=self._over == "memory", reason=self._over)
        )

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            list(self._record.command),
            cwd=self._record.working_directory,
            env=dict(self._record.env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            preexec_fn=self._limit,  # noqa: PLW1509 (no thread runs yet)
        )

    def _limit(self) -> None:
        """What the kernel can hold for one process each; the sum of all is watched."""
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        _lower(resource.RLIMIT_DATA, self._record.memory_bytes)
        _lower(resource.RLIMIT_NOFILE, _OPEN_FILES)
        os.nice(_NICER)

    def _pump(self, source: IO[bytes] | None, stream: str) -> threading.Thread:
        thread = threading.Thread(target=self._output.pump, args=(source, stream), daemon=True)
        thread.start()
        return thread

    def _watch(self) -> None:
        """Of all together: memory without what they share, and how many they are."""
        while not self._ending.wait(_LOOK_SECONDS):
            processes = family(os.getpid())
            _reap(but=self._child)
            if memory_of(processes) > self._record.memory_bytes:
                self._over = "memory"
            elif len(processes) > self._record.processes:
                self._over = "processes"
            if self._over is not None:
                self._output.write(f"ended: more {self._over} than its limit".encode(), "stderr")
                _kill_all()
                return

    def _on_signal(self, number: int, _frame: object) -> None:
        if number == signal.SIGUSR1:
            _kill_all()
            return
        for each in family(os.getpid()):
            signal_quietly(each.pid, signal.SIGTERM)
            signal_quietly(each.pid, signal.SIGCONT)


def memory_of(processes: list[psutil.Process]) -> int:
    """Bytes of all: each one's own, and once what they share at most."""
    own, shared = 0, 0
    for process in processes:
        with suppress(psutil.Error):
            info = process.memory_info()
            own += max(0, info.rss - info.shared)
            shared = max(shared, info.shared)
    return own + shared


def _kill_all() -> None:
    """Also what is started while we do."""
    while processes := [each for each in family(os.getpid()) if _lives(each)]:
        for each in processes:
            signal_quietly(each.pid, signal.SIGKILL)
        time.sleep(_KILL_LOOK_SECONDS)  # waiting for them would take their exit codes from `run`


def _reap(but: int | None = None) -> None:
    """Of our children, the adopted ones too, those that have ended; the one is waited for elsewhere."""
    with suppress(psutil.Error):
        for child in psutil.Process().children():
            if child.pid != but:
                with suppress(ChildProcessError):
                    os.waitpid(child.pid, os.WNOHANG)


def _lives(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return process.status() != psutil.STATUS_ZOMBIE
    return False


def _lower(limit: int, value: int) -> None:
    _, hard = resource.getrlimit(limit)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(limit, (value, value))


def _adopt_descendants() -> None:
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)


def _tell(tell: IO[str], data: dict[str, object]) -> None:
    with suppress(OSError):
        tell.write(json.dumps(data) + "\n")
        tell.close()


def main() -> None:
    """The folder has the record of what is to run."""
    folder = Folder(Path(sys.argv[1]))
    record = folder.record()
    if record is None:
        sys.exit(f"{folder.path} has no record")
    Supervisor(folder, record).run(cast("IO[str]", sys.stdout))


if __name__ == "__main__":
    main()

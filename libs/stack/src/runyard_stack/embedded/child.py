"""A child process that does not outlive its parent, with a pid file for the case that it did."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

PR_SET_PDEATHSIG = 1

# Loaded before any fork: between fork and exec only the call itself may happen.
_libc: ctypes.CDLL | None = ctypes.CDLL(None, use_errno=True) if sys.platform.startswith("linux") else None


def die_with_parent(signum: int) -> Callable[[], None] | None:
    """A `preexec_fn` by which the kernel sends the child `signum` when its parent dies.

    Linux ties this to the thread that forked, so spawn from one that lives as long as the process.
    Elsewhere there is no such call, and the pid file is what finds the orphan at the next start.
    """
    libc = _libc
    if libc is None:
        return None

    def ask_kernel() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signum)

    return ask_kernel


@dataclass(frozen=True)
class Account:
    """The operating system user that a child runs as."""

    uid: int
    gid: int


@dataclass
class Child:
    """One long-running child in a process group and session of its own.

    Args:
        argv: program and arguments.
        log: file that takes its standard output and error.
        pidfile: remembers pid and start time, so that an orphan is recognised and never a stranger.
        stop_signal: asks it to stop cleanly; also sent by the kernel when this process dies.
    """

    argv: Sequence[str]
    log: Path
    pidfile: Path
    stop_signal: signal.Signals = signal.SIGTERM
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    account: Account | None = None
    cwd: Path | None = None
    process: subprocess.Popen[bytes] | None = None

    def spawn(self) -> None:
        """Start it; standard output and error go to the end of the log file."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                list(self.argv),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=dict(self.env),
                cwd=self.cwd,
                start_new_session=True,
                user=self.account.uid if self.account else None,
                group=self.account.gid if self.account else None,
                extra_groups=[] if self.account else None,
                preexec_fn=die_with_parent(self.stop_signal),  # noqa: PLW1509 - one system call
            )
        with contextlib.suppress(psutil.Error):
            started = psutil.Process(self.process.pid).create_time()
            self.pidfile.write_text(f"{self.process.pid} {started}\n")

    @property
    def pid(self) -> int | None:
        """The pid while it runs."""
        return self.process.pid if self.process and self.process.poll() is None else None

    @property
    def exit_code(self) -> int | None:
        """The exit code once it has ended; negative for a signal."""
        return self.process.poll() if self.process else None

    def stop(self, timeout: float) -> None:
        """Ask it to stop; after `timeout` seconds kill its whole process group."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.send_signal(self.stop_signal)
            try:
                self.process.wait(timeout)
            except subprocess.TimeoutExpired:
                self.kill()
        self.pidfile.unlink(missing_ok=True)

    def kill(self) -> None:
        """SIGKILL to the process group, and wait for the end."""
        if self.process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def orphan(self) -> psutil.Process | None:
        """The child of an earlier parent that is still running, by the pid file."""
        try:
            pid, started = self.pidfile.read_text().split()
            process = psutil.Process(int(pid))
            same = abs(process.create_time() - float(started)) < 1
        except (OSError, ValueError, psutil.Error):
            return None
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None

    def stop_orphan(self, timeout: float) -> bool:
        """Stop what an earlier parent left behind; whether there was something to stop."""
        process = self.orphan()
        if process is None:
            return False
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(self.stop_signal)
        try:
            process.wait(timeout)
        except psutil.TimeoutExpired:
            process.kill()
            process.wait()
        self.pidfile.unlink(missing_ok=True)
        return True


def tail(path: Path, lines: int = 5) -> str:
    """The last lines of a log, for an error message."""
    try:
        text = path.read_bytes()[-8192:].decode(errors="replace")
    except OSError:
        return ""
    return "\n".join(f"    {line}" for line in text.strip().splitlines()[-lines:])

"""Which process is meant, though its number may be another's by now."""

import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_STARTED_AT = 19
_STATE_AT = 0
"""Places behind the name in `/proc/<pid>/stat`, which may itself hold blanks and brackets."""
_STILL = ("T", "t")
_WAITS = "D"


@dataclass(frozen=True, slots=True)
class Identity:
    """A process and when it was started, in the kernel's ticks since this boot."""

    pid: int
    ticks: int
    boot: str

    def lives(self) -> bool:
        """Whether it is still there and not only waiting to be reaped."""
        fields = _stat(self.pid)
        return (
            fields is not None
            and int(fields[_STARTED_AT]) == self.ticks
            and fields[_STATE_AT] not in {"Z", "X"}
            and self.boot_is_ours()
        )

    def keeps_its_number(self) -> bool:
        """Whether its pid is no other process's by now. The kernel keeps one back while a process group has it."""
        fields = _stat(self.pid)
        return self.boot_is_ours() and (fields is None or int(fields[_STARTED_AT]) == self.ticks)

    def boot_is_ours(self) -> bool:
        """Whether the machine has not been started anew since."""
        return self.boot == boot_id()

    def send(self, number: signal.Signals) -> None:
        """Sends it a signal if it is still there."""
        if self.lives():
            signal_quietly(self.pid, number)


def identity_of(pid: int) -> Identity | None:
    """What is to be remembered of a process; None when it is gone."""
    fields = _stat(pid)
    return None if fields is None else Identity(pid, int(fields[_STARTED_AT]), boot_id())


def is_still(pid: int) -> bool:
    """Whether it stands still by a signal, or by waiting for a child of its own that does.

    Who starts a program by `vfork(2)`, as shells do, waits in the kernel until that has begun, and for no signal but
    the last one. On a busy machine the child is often told to stand still before it has begun.
    """
    state = _state(pid)
    return state in _STILL or (state == _WAITS and any(_state(each.pid) in _STILL for each in family(pid)))


def boot_id() -> str:
    """Changes whenever the machine is started: numbers of processes and ticks begin anew."""
    return _BOOT.read_text().strip()


def family(pid: int) -> list[psutil.Process]:
    """All that descend from a process, without it."""
    with suppress(psutil.NoSuchProcess):
        return [each for each in psutil.Process(pid).children(recursive=True) if each.pid != os.getpid()]
    return []


def started_by(leader: Identity) -> list[psutil.Process]:
    """All that descend from the leader of a process group, and all of that group, also when it has ended itself."""
    if not leader.keeps_its_number():
        return []
    group = [each for each in psutil.process_iter() if _group(each.pid) == leader.pid]
    return list({each.pid: each for each in (*family(leader.pid), *group) if each.pid != os.getpid()}.values())


def signal_quietly(pid: int, number: signal.Signals) -> None:
    """Sends a signal to what may be gone."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _group(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None


def _state(pid: int) -> str | None:
    fields = _stat(pid)
    return None if fields is None else fields[_STATE_AT]


def _stat(pid: int) -> list[str] | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return text.rpartition(") ")[2].split()

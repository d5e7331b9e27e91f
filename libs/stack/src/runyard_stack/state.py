"""The running stack of a data folder: one at a time, and where to find it."""

import contextlib
import fcntl
import os
import time
from collections.abc import Generator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from runyard_stack.errors import StackError
from runyard_stack.layout import Layout

LOCK_PATIENCE_SECONDS = 0.3
Phase = Literal["starting", "ready", "stopping"]


class State(BaseModel):
    """What a running stack says about itself in its state file."""

    model_config = ConfigDict(extra="ignore")

    pid: int
    phase: Phase
    started_at: datetime
    port_base: int
    processes: bool
    addresses: dict[str, str]
    event_log: str = ""
    database: str = ""
    model_source: str = ""
    sandboxes: str = ""


def read_state(layout: Layout) -> State | None:
    """The state of the running stack, or None when none runs."""
    if not is_locked(layout.lock):
        return None
    try:
        return State.model_validate_json(layout.state.read_bytes())
    except (OSError, ValidationError):
        return None


def write_state(layout: Layout, state: State) -> None:
    """Replace the state file in one step."""
    scratch = layout.state.with_suffix(".new")
    scratch.write_text(state.model_dump_json(indent=2) + "\n")
    scratch.replace(layout.state)


def is_locked(lock: Path) -> bool:
    """Whether a running process holds the lock; the kernel drops it when that process dies."""
    try:
        descriptor = os.open(lock, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        # Shared: two that look at the same time do not take each other for a stack.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


@contextmanager
def only_stack_on(layout: Layout) -> Generator[None]:
    """Hold the data folder for as long as the stack runs.

    Raises:
        StackError: another stack holds it.
    """
    # Not inheritable (PEP 446): a server that outlives us for a moment does not keep the lock.
    descriptor = os.open(layout.lock, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if not _locked_within(descriptor, LOCK_PATIENCE_SECONDS):
            raise _refusal(layout, descriptor)
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        yield
        with contextlib.suppress(FileNotFoundError):
            layout.state.unlink()
    finally:
        os.close(descriptor)


def _locked_within(descriptor: int, seconds: float) -> bool:
    """Take the lock; a `runyard status` that looks at it holds it for an instant."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        else:
            return True


def _refusal(layout: Layout, descriptor: int) -> StackError:
    pid = os.pread(descriptor, 32, 0).decode().strip()
    return StackError(
        f"A stack already runs on {layout.home}" + (f" (pid {pid})." if pid else "."),
        "See it with `runyard status`, stop it with `runyard down`, or start a second one beside it with its "
        "own RUNYARD_HOME and RUNYARD_PORT_BASE.",
    )

"""What a stack needs of this machine, looked at piece by piece."""

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from runyard_stack.embedded.errors import EmbeddedError
from runyard_stack.embedded.nats import nats_binary
from runyard_stack.embedded.ports import holder, is_free
from runyard_stack.embedded.postgres import postgres_folder
from runyard_stack.layout import Layout
from runyard_stack.models import model_source
from runyard_stack.probe import ask_ready
from runyard_stack.sandboxes import method, sandboxes_in_words, what_is_missing
from runyard_stack.servers import Existing
from runyard_stack.services import PARTS
from runyard_stack.state import State, read_state

SPACE_BROKEN = 500 * 2**20
SPACE_WARNING = 5 * 2**30
OLDEST_GIT = (2, 25)
OLDEST_PYTHON = (3, 11)
SIGNS = {"ok": "✓", "warning": "!", "broken": "✗"}


@dataclass(frozen=True)
class Finding:
    """How one piece is, and what to do about it."""

    name: str
    state: Literal["ok", "warning", "broken"]
    words: str
    remedy: str = ""

    @property
    def sign(self) -> str:
        """A mark for the state."""
        return SIGNS[self.state]


async def examine(layout: Layout, environment: Mapping[str, str]) -> list[Finding]:
    """Every finding, in the order of who needs whom."""
    state = read_state(layout)
    existing = Existing.of(environment)
    findings = [
        python(sys.version_info[:3]),
        git(_output("git", "--version")),
        data_folder(layout),
        disk(shutil.disk_usage(_nearest(layout.home)).free),
        binary("nats-server", nats_binary),
        binary("PostgreSQL", lambda: postgres_folder() / "bin" / "postgres"),
        stack(layout, state),
    ]
    if state is None:
        findings.append(ports(layout, existing))
    else:
        findings += [await server("event log", state.event_log), await server("database", state.database)]
        findings += [await service(part.name, state) for part in PARTS]
    findings += [models(environment), await sandboxes(environment)]
    return findings


def python(version: tuple[int, ...]) -> Finding:
    """The interpreter."""
    words = ".".join(str(part) for part in version)
    if version < OLDEST_PYTHON:
        return Finding("Python", "broken", words, "Install Python 3.11 or newer, then `make install`.")
    return Finding("Python", "ok", f"{words} ({sys.executable})")


def git(version: str | None) -> Finding:
    """Git, with which worktrees are made."""
    if version is None:
        return Finding("Git", "broken", "not found on PATH", "Install it (Debian, Ubuntu: apt install git).")
    words = version.removeprefix("git version ").split()[0]
    numbers = tuple(int(part) for part in words.split(".")[:2] if part.isdigit())
    if numbers < OLDEST_GIT:
        return Finding("Git", "broken", words, "Install Git 2.25 or newer.")
    return Finding("Git", "ok", words)


def data_folder(layout: Layout) -> Finding:
    """The data folder, or the one that it would be made in."""
    place = _nearest(layout.home)
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        remedy = "Give this user the folder, or choose another one with RUNYARD_HOME."
        return Finding("data", "broken", f"{layout.home} cannot be written", remedy)
    return Finding("data", "ok", str(layout.home) + ("" if layout.home.exists() else " (not made yet)"))


def disk(free: int) -> Finding:
    """Space for clones and events."""
    words = f"{free / 2**30:.1f} GB free"
    if free < SPACE_BROKEN:
        return Finding("disk", "broken", words, "Free some space: NATS and PostgreSQL stop on a full disk.")
    if free < SPACE_WARNING:
        return Finding("disk", "warning", words, "Clones and agents may need more than that.")
    return Finding("disk", "ok", words)


def binary(name: str, find: Callable[[], Path]) -> Finding:
    """A server's program."""
    try:
        path = find()
    except EmbeddedError as error:
        return Finding(name, "broken", error.message, error.remedy)
    words = _output(str(path), "--version")
    if words is None:
        return Finding(name, "broken", f"{path} does not run on this machine", "Run `make clean install`.")
    return Finding(name, "ok", words)


def stack(layout: Layout, state: State | None) -> Finding:
    """The stack itself."""
    if state is None:
        return Finding("stack", "warning", f"none runs on {layout.home}", "Start it: runyard up")
    return Finding("stack", "ok", f"{state.phase}, pid {state.pid}, at {state.addresses['gateway']}")


def ports(layout: Layout, existing: Existing) -> Finding:
    """Whether a start would find its ports free."""
    wanted = [part.name for part in PARTS]
    wanted += ["nats"] if existing.nats_url is None else []
    wanted += ["postgres"] if existing.database_url is None else []
    taken = {name: layout.port(name) for name in wanted if not is_free(layout.port(name))}
    if not taken:
        return Finding("ports", "ok", f"{layout.port_base} to {layout.port('nats')} are free")
    words = ", ".join(f"{port} ({name}) by {holder(port) or 'another process'}" for name, port in taken.items())
    remedy = "Stop those, or move all ports together: RUNYARD_PORT_BASE=9300 runyard up"
    return Finding("ports", "broken", f"taken: {words}", remedy)


async def server(name: str, address: str) -> Finding:
    """Whether NATS or PostgreSQL takes connections."""
    host, _, port = address.rpartition("//")[2].rpartition(":")
    try:
        async with asyncio.timeout(2):
            _, writer = await asyncio.open_connection(host, int(port))
        writer.close()
    except (OSError, ValueError):  # a time-out is an OSError too
        remedy = "An embedded one has its log in the data folder; `runyard down` and `runyard up` start it anew."
        return Finding(name, "broken", f"does not answer at {address}", remedy)
    return Finding(name, "ok", f"answers at {address}")


async def service(name: str, state: State) -> Finding:
    """Whether a service is ready."""
    address = state.addresses[name]
    ready, words = await ask_ready(int(address.rpartition(":")[2]))
    if ready:
        return Finding(name, "ok", f"ready at {address}")
    return Finding(name, "broken", words, "Its log is in the logs folder of the data folder.")


def models(environment: Mapping[str, str]) -> Finding:
    """Where answers come from."""
    return Finding("models", "ok", model_source(environment))


async def sandboxes(environment: Mapping[str, str]) -> Finding:
    """Where agents work, and whether what that needs is there."""
    words = sandboxes_in_words(environment)
    if method(environment) != "docker":
        return Finding("sandboxes", "ok", words)
    missing, remedy = await what_is_missing(environment)
    return Finding("sandboxes", "broken", missing, remedy) if missing else Finding("sandboxes", "ok", words)


def _nearest(path: Path) -> Path:
    """The folder itself, or the closest one above it that exists."""
    return next(folder for folder in (path, *path.parents) if folder.exists())


def _output(*argv: str) -> str | None:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=10)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None

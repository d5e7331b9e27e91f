"""The seam between what the product wants to run and what runs it.

A provisioner keeps no list of its own: what exists is what its engine says, found again by labels after
any restart. Every operation may be repeated; one on something that is gone raises `NotThere` or, where
that is what was wanted, does nothing.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal, Protocol

from runyard_events.catalogue import Method, SandboxFailure

PROXY_NAME = "runyard"
"""How the installation's proxy is called inside every sandbox (an entry of its `/etc/hosts`)."""

GIB = 1024**3
MIB = 1024**2

Purpose = Literal["agent", "preview", "sync"]
Status = Literal["creating", "running", "paused", "stopped", "error"]
Failure = SandboxFailure


@dataclass(frozen=True, slots=True)
class Limits:
    """What a sandbox may use. Reservations are what an engine that knows them keeps free for it."""

    memory_bytes: int
    cpus: float
    processes: int = 256
    reserved_memory_bytes: int | None = None
    reserved_cpus: float | None = None
    temporary_bytes: int = 512 * MIB
    """Of `/tmp`, which is in memory and counts towards it."""


AGENT_LIMITS = Limits(2 * GIB, 1.0, reserved_memory_bytes=512 * MIB, reserved_cpus=0.25)
PREVIEW_LIMITS = Limits(1 * GIB, 0.5, reserved_memory_bytes=256 * MIB, reserved_cpus=0.1)
BESIDE_LIMITS = Limits(512 * MIB, 0.25, reserved_memory_bytes=128 * MIB, reserved_cpus=0.05)
"""Of each container that a preview needs besides its own."""


@dataclass(frozen=True, slots=True)
class Mount:
    """A folder of the host inside the sandbox."""

    source: Path
    target: str
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class Health:
    """How to see that it works: a command inside that ends with 0."""

    test: tuple[str, ...]
    every_seconds: float = 30
    timeout_seconds: float = 5
    retries: int = 3
    start_seconds: float = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """What is to run, for whom, with what of the host, and within which limits."""

    name: str
    """Unique in the installation; the container's name."""
    purpose: Purpose
    tenant_id: str
    owner_id: str
    """The session or the preview that it belongs to."""
    epoch: int
    """Counts the owner's sandboxes; fences whatever a former one still holds."""
    image: str | None
    """None: the provisioner's own for this purpose (a process has none)."""
    command: tuple[str, ...] | None = None
    """None: the image's own."""
    env: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    mounts: tuple[Mount, ...] = ()
    volumes: tuple[str, ...] = ()
    """Places inside that are its own, beginning with what the image has there (containers of Docker)."""
    scratch: tuple[str, ...] = ()
    """Places inside that begin empty, in memory that counts towards its limit (containers of Docker)."""
    group: str | None = None
    """Those of one group share a network (containers of Docker)."""
    alias: str | None = None
    """What it is called there, one of `neighbours`."""
    neighbours: tuple[str, ...] = ()
    """What all of its group are called, always in the same order."""
    working_directory: str | None = None
    user: str | None = None
    """`uid:gid`, never 0; None: the provisioner's own."""
    limits: Limits = AGENT_LIMITS
    ports: tuple[int, ...] = ()
    """Ports inside that the platform has to reach (a preview's page)."""
    read_only_root: bool = True
    runtime: str | None = None
    health: Health | None = None
    expires_at: datetime | None = None
    """After this it can do nothing any more: what it holds opens nothing; whoever looks after it replaces it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sandbox:
    """What an engine says of one sandbox."""

    name: str
    native_id: str
    status: Status
    purpose: Purpose
    tenant_id: str
    owner_id: str
    epoch: int
    exit_code: int | None = None
    out_of_memory: bool = False
    healthy: bool | None = None
    """None: it has no health check, or none has ended yet."""
    outdated: bool = False
    """At rest, and the name of its image stands for another one by now: `find` says so where the engine knows it."""
    alias: str | None = None
    created_at: datetime | None = None
    expires_at: datetime | None = None
    """As it was made; None where the engine does not keep that."""
    addresses: Mapping[int, str] = field(default_factory=dict[int, str])
    """Port inside -> `host:port` where the platform reaches it."""


@dataclass(frozen=True, slots=True)
class Stats:
    """What it uses now. Bytes; `cpu_percent` of one core."""

    at: datetime
    cpu_percent: float
    memory_bytes: int
    memory_limit_bytes: int | None = None
    disk_bytes: int | None = None
    processes: int | None = None
    received_bytes: int | None = None
    sent_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line that it printed, without its line end."""

    at: datetime | None
    text: str
    stream: Literal["stdout", "stderr"] = "stdout"


@dataclass(frozen=True, slots=True)
class ExecResult:
    """What became of a command inside. `output` is both of its streams, the last MiB."""

    exit_code: int
    output: bytes


@dataclass(frozen=True, slots=True)
class Change:
    """Something has happened to a sandbox: look at it again."""

    name: str
    what: str
    """The engine's own word: start, die, oom, health_status: unhealthy, destroy, ..."""


class SandboxFault(Exception):
    """Something did not work."""


class EngineAway(SandboxFault):
    """The engine does not answer; nothing can be concluded about what it runs."""


class NotThere(SandboxFault):
    """There is no sandbox of this name."""


class NotSupported(SandboxFault):
    """This engine cannot do it at all; trying again changes nothing."""


class ProvisionFailed(SandboxFault):
    """A sandbox could not be had; whatever was made of it is gone again."""

    def __init__(self, message: str, *, reason: Failure = "create_failed") -> None:
        super().__init__(message)
        self.reason: Failure = reason


class Provisioner(Protocol):
    """Makes, watches and removes sandboxes."""

    @property
    def method(self) -> Method:
        """Its name in events."""
        ...

    async def check(self) -> None:
        """Raises `EngineAway` when nothing can be had of it now."""
        ...

    async def provision(self, spec: Spec) -> Sandbox:
        """Makes and starts it; one of the same name and epoch that is there already is returned as it is.

        Raises:
            ProvisionFailed: the engine refused.
            EngineAway: the engine does not answer.
        """
        ...

    async def exec(
        self,
        name: str,
        command: Sequence[str],
        *,
        stdin: bytes | None = None,
        timeout_seconds: float = 30,
    ) -> ExecResult:
        """Runs a command inside. Secrets go in by `stdin`, never as arguments.

        Raises:
            NotThere, EngineAway; TimeoutError when it did not end in time.
        """
        ...

    def stats(self, name: str) -> AsyncIterator[Stats]:
        """What it uses, about once a second, until it has ended. One stream per sandbox."""
        ...

    def logs(self, name: str, *, follow: bool = False, tail: int = 200) -> AsyncIterator[LogLine]:
        """The last `tail` lines, and with `follow` those to come."""
        ...

    async def stop(self, name: str, *, grace_seconds: float = 10) -> None:
        """Ends its processes; its own files stay. One that is at rest or gone stays so."""
        ...

    async def start(self, name: str) -> Sandbox:
        """Starts a stopped one again. Raises `NotThere`."""
        ...

    async def pause(self, name: str) -> None:
        """Lets its processes stand still; one that does so already stays so."""
        ...

    async def resume(self, name: str) -> None:
        """Lets them go on."""
        ...

    async def delete(self, name: str) -> None:
        """Removes it with everything that was made for it; one that is gone stays gone."""
        ...

    async def find(self, name: str) -> Sandbox | None:
        """One of them as it is now."""
        ...

    async def list(self) -> list[Sandbox]:
        """All of this installation, at rest or not."""
        ...

    def changes(self) -> AsyncIterator[Change]:
        """What happens to them from now on; ends when the engine goes away."""
        ...

    async def close(self) -> None:
        """Lets go of the engine. What runs goes on, unless it cannot without this process."""
        ...

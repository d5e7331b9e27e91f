"""Sandboxes as processes beside the services: for previews where there is no engine. They are not isolated."""

import asyncio
import os
import shutil
import signal
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import psutil

from runyard_events.catalogue import Method
from runyard_sandbox.disk import DiskUse, disk_use
from runyard_sandbox.process.identity import family, identity_of, is_still, signal_quietly, started_by
from runyard_sandbox.process.lifetimes import Lifetimes
from runyard_sandbox.process.reading import Reading
from runyard_sandbox.process.record import Folder, Record
from runyard_sandbox.process.supervisor import memory_of
from runyard_sandbox.process.watching import Watching
from runyard_sandbox.provisioner import (
    MIB,
    Change,
    ExecResult,
    LogLine,
    NotThere,
    ProvisionFailed,
    Sandbox,
    Spec,
    Stats,
    Status,
)

_KEPT_ENVIRONMENT = (
    "PATH",
    "LANG",
    "LC_ALL",
    "TZ",
    "TERM",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
    "PIP_CERT",
    "GIT_SSL_CAINFO",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
)
_LOOK_SECONDS = 0.2
_MOST_OUTPUT = MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSettings:
    """Where processes are remembered, and what they get of our environment."""

    folder: Path
    """Private to the stack; everything in it is this installation's."""
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    """For all of them, beyond the few variables that are passed on."""
    address: str = "127.0.0.1"
    """Where their ports are reached."""
    disk_seconds: float = 60
    """Between two looks at how much of the disk one takes."""


class ProcessProvisioner:
    """Processes with a supervisor each, which outlives this one."""

    def __init__(self, settings: ProcessSettings) -> None:
        self._settings = settings
        self._folder = settings.folder
        self._watching = Watching()
        self._lifetimes = Lifetimes(self._watching)
        self._locks: dict[str, asyncio.Lock] = {}
        self._disk = DiskUse(settings.disk_seconds)

    @property
    def method(self) -> Method:
        """`process`."""
        return "process"

    async def check(self) -> None:
        """A process can always be had."""

    async def provision(self, spec: Spec) -> Sandbox:
        """Starts it, or returns the one of this name and epoch as it is. Mounts, image and user mean nothing here.

        Raises:
            ProvisionFailed: it has no command, or its command cannot be started.
        """
        if not spec.command:
            raise ProvisionFailed("a process needs a command")
        async with self._lock(spec.name):
            folder = self._of(spec.name)
            there = folder.record()
            if there is not None and (there.epoch, there.owner_id) != (spec.epoch, spec.owner_id):
                raise ProvisionFailed(f"the name {spec.name} is taken by something else")
            if there is None:
                cwd = spec.working_directory or str(folder.path / "home")
                env = self._environment(spec, folder)
                folder.create(_record_of(spec, command=spec.command, env=env, cwd=cwd, at=datetime.now(UTC)))
            if folder.running() is None:
                try:
                    await self._lifetimes.launch(folder)
                except BaseException:
                    await asyncio.to_thread(shutil.rmtree, folder.path, ignore_errors=True)
                    raise
            return self._get(spec.name)

    async def exec(
        self,
        name: str,
        command: Sequence[str],
        *,
        stdin: bytes | None = None,
        timeout_seconds: float = 30,
    ) -> ExecResult:
        """Runs a command beside it, in its folder with its environment; killed with all it started at the time-out."""
        record = self._record(name)
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=record.working_directory,
            env=dict(record.env),
            stdin=asyncio.subprocess.PIPE if stdin is not None else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        assert process.stdout is not None  # noqa: S101 (it is a pipe)
        leader = identity_of(process.pid)
        try:
            async with asyncio.timeout(timeout_seconds):
                _, output = await asyncio.gather(_feed(process.stdin, stdin), process.stdout.read())
                await process.wait()
        except BaseException:
            if leader is not None:
                for each in await asyncio.to_thread(started_by, leader):
                    signal_quietly(each.pid, signal.SIGKILL)
            await process.wait()
            raise
        return ExecResult(process.returncode or 0, output[-_MOST_OUTPUT:])

    async def stats(self, name: str) -> AsyncIterator[Stats]:
        """All its processes together, once a second, and once more when it has ended."""
        record, folder = self._record(name), self._of(name)
        before: tuple[float, float] | None = None
        written = {Path(record.working_directory), folder.path}

        async def look() -> int | None:
            return await asyncio.to_thread(disk_use, written)

        while (running := folder.running()) is not None and running.supervisor.lives():
            processes = await asyncio.to_thread(family, running.supervisor.pid)
            used, now = sum(_cpu_seconds(each) for each in processes), time.monotonic()
            percent = 0.0 if before is None else max(0.0, 100 * (used - before[0]) / (now - before[1]))
            before = used, now
            yield Stats(
                at=datetime.now(UTC),
                cpu_percent=round(percent, 2),
                memory_bytes=memory_of(processes),
                memory_limit_bytes=record.memory_bytes,
                disk_bytes=await self._disk.of(name, look),
                processes=len(processes),
            )
            if await self._watching.ended(running.supervisor, 1.0):
                left = await self._disk.last(name, look)
                yield Stats(datetime.now(UTC), 0.0, 0, record.memory_bytes, left, processes=0)
                return

    async def logs(self, name: str, *, follow: bool = False, tail: int = 200) -> AsyncIterator[LogLine]:
        """What it printed, and with `follow` what it prints until it ends."""
        self._record(name)
        folder = self._of(name)
        reading = Reading(folder.log)
        for line in await asyncio.to_thread(reading.tail, tail):
            yield line
        while follow:
            running = folder.running()
            ended = running is None or await self._watching.ended(running.supervisor, _LOOK_SECONDS)
            for line in await asyncio.to_thread(reading.fresh):
                yield line
            if ended:
                return

    async def stop(self, name: str, *, grace_seconds: float = 10) -> None:
        """Asks all of its processes to end and kills what is left after the grace."""
        async with self._lock(name):
            await self._lifetimes.stop(self._of(name), grace_seconds)

    async def start(self, name: str) -> Sandbox:
        """Starts it again as it was."""
        async with self._lock(name):
            self._record(name)
            folder = self._of(name)
            running = folder.running()
            if running is None or not running.supervisor.lives():
                await self._lifetimes.stop(folder, 0)
                await self._lifetimes.launch(folder)
            return self._get(name)

    async def pause(self, name: str) -> None:
        """Lets its processes stand still."""
        await self._lifetimes.signal(self._recorded(name), signal.SIGSTOP)

    async def resume(self, name: str) -> None:
        """Lets them go on."""
        await self._lifetimes.signal(self._recorded(name), signal.SIGCONT)

    async def delete(self, name: str) -> None:
        """Ends it and removes what it printed and its home."""
        async with self._lock(name):
            folder = self._of(name)
            if folder.record() is not None:
                await self._lifetimes.stop(folder, 2)
            await asyncio.to_thread(shutil.rmtree, folder.path, ignore_errors=True)
        self._locks.pop(name, None)

    async def find(self, name: str) -> Sandbox | None:
        """One of them as it is now."""
        try:
            return self._get(name)
        except NotThere:
            return None

    async def list(self) -> list[Sandbox]:
        """All that the folder knows. Those that a former service started are watched from now on."""
        names = sorted(each.name for each in self._folder.iterdir()) if self._folder.is_dir() else []
        found = [await self.find(name) for name in names]
        return [sandbox for sandbox in found if sandbox is not None]

    async def changes(self) -> AsyncIterator[Change]:
        """`start` and `die` of each."""
        await self.list()
        async for change in self._watching.changes():
            yield change

    async def close(self) -> None:
        """Lets go; what runs goes on."""
        self._watching.close()
        await self._disk.close()

    def _get(self, name: str) -> Sandbox:
        record, folder = self._record(name), self._of(name)
        running = folder.running()
        lives = running is not None and running.supervisor.lives()
        # Looked at last: a supervisor says how it ended before it goes.
        ended = folder.ended()
        status: Status = "stopped"
        if running is None:
            status = "creating"
        elif lives:
            self._watching.watch(name, running.supervisor)
            status = "paused" if is_still(running.leader.pid) else "running"
        elif ended is None:
            status = "error"
        return Sandbox(
            name=name,
            native_id=str(running.leader.pid) if running else "",
            status=status,
            purpose=record.purpose,
            tenant_id=record.tenant_id,
            owner_id=record.owner_id,
            epoch=record.epoch,
            exit_code=ended.exit_code if ended and status == "stopped" else None,
            out_of_memory=ended is not None and ended.out_of_memory,
            created_at=datetime.fromisoformat(record.created_at),
            addresses={port: f"{self._settings.address}:{port}" for port in record.ports},
        )

    def _record(self, name: str) -> Record:
        record = self._of(name).record()
        if record is None:
            raise NotThere(f"there is no sandbox {name}")
        return record

    def _recorded(self, name: str) -> Folder:
        self._record(name)
        return self._of(name)

    def _of(self, name: str) -> Folder:
        if "/" in name or name in {"", ".", ".."}:
            raise NotThere(f"{name!r} cannot be the name of a sandbox")
        return Folder(self._folder / name)

    def _environment(self, spec: Spec, folder: Folder) -> dict[str, str]:
        """Little of ours: the services' own environment holds keys."""
        kept = {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}
        home = str(folder.path / "home")
        return kept | {"HOME": home, "PWD": spec.working_directory or home} | {**self._settings.environment, **spec.env}

    def _lock(self, name: str) -> asyncio.Lock:
        return self._locks.setdefault(name, asyncio.Lock())


def _cpu_seconds(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.Error:
        return 0.0
    return float(times.user + times.system)


async def _feed(to: asyncio.StreamWriter | None, data: bytes | None) -> None:
    """Not `communicate`: a pipe that a process has left already is an error there."""
    if to is None or data is None or to.is_closing():
        return
    with suppress(BrokenPipeError, ConnectionResetError):
        to.write(data)
        await to.drain()
    to.close()


def _record_of(spec: Spec, *, command: tuple[str, ...], env: Mapping[str, str], cwd: str, at: datetime) -> Record:
    """From what is to run."""
    return Record(
        name=spec.name,
        purpose=spec.purpose,
        tenant_id=spec.tenant_id,
        owner_id=spec.owner_id,
        epoch=spec.epoch,
        command=command,
        env=dict(env),
        working_directory=cwd,
        ports=spec.ports,
        memory_bytes=spec.limits.memory_bytes,
        processes=spec.limits.processes,
        created_at=at.isoformat(),
    )

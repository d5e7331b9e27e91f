"""A container engine in memory: it keeps what it was told across restarts of the service, and can go wrong."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from runyard_events.catalogue import Method
from runyard_sandbox import (
    Change,
    EngineAway,
    ExecResult,
    LogLine,
    NotSupported,
    NotThere,
    ProvisionFailed,
    Sandbox,
    SandboxFault,
    Spec,
    Stats,
)

Main = Callable[[Spec], Awaitable[None]]


@dataclass
class Held:
    """One container: what it was made of, how it is, and the process in it."""

    spec: Spec
    sandbox: Sandbox
    lines: list[LogLine] = field(default_factory=list[LogLine])
    process: asyncio.Task[Any] | None = None


def address_of(sandbox: Sandbox) -> str:
    """Where a container is on its network."""
    return f"10.213.0.{sandbox.native_id.removeprefix('native-')}"


@dataclass
class MemoryEngine:
    """A provisioner as `Provisioner` promises it; `main` is what runs in each container."""

    main: Main | None = None
    method: Method = "docker"
    is_away: bool = False
    can_pause: bool = True
    failures: list[ProvisionFailed] = field(default_factory=list[ProvisionFailed])
    """What the next provisions come to."""
    refusals: dict[str, SandboxFault] = field(default_factory=dict[str, SandboxFault])
    """What `start` or `delete` comes to, as long as it is in here."""
    held: dict[str, Held] = field(default_factory=dict[str, Held])
    specs: list[Spec] = field(default_factory=list[Spec])
    """Of all containers that were ever made."""
    stats_now: Stats | None = None
    _processes: list[asyncio.Task[Any]] = field(default_factory=list[asyncio.Task[Any]])
    _listeners: set[asyncio.Queue[Change | None]] = field(default_factory=set[asyncio.Queue[Change | None]])
    _numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))
    most_at_once: dict[str, int] = field(default_factory=dict[str, int])
    """The most running containers that each owner ever had."""

    # what a provisioner does

    async def check(self) -> None:
        await self._answer()

    async def provision(self, spec: Spec) -> Sandbox:
        await self._answer()
        there = self.held.get(spec.name)
        if there is not None:
            if (there.spec.owner_id, there.spec.epoch) != (spec.owner_id, spec.epoch):
                raise ProvisionFailed(f"{spec.name} is somebody else's")
            return there.sandbox
        if self.failures:
            raise self.failures.pop(0)
        sandbox = Sandbox(
            name=spec.name,
            native_id=f"native-{next(self._numbers)}",
            status="running",
            purpose=spec.purpose,
            tenant_id=spec.tenant_id,
            owner_id=spec.owner_id,
            epoch=spec.epoch,
            alias=spec.alias,
            created_at=datetime.now(UTC),
            expires_at=spec.expires_at,
        )
        self.specs.append(spec)
        self.held[spec.name] = Held(spec, sandbox)
        self._run(spec.name)
        self._tell(spec.name, "start")
        return sandbox

    async def exec(
        self, name: str, command: Sequence[str], *, stdin: bytes | None = None, timeout_seconds: float = 30
    ) -> ExecResult:
        await self._answer()
        self._get(name)
        return ExecResult(0, b" ".join((" ".join(command).encode(), stdin or b"", str(timeout_seconds).encode())))

    async def stats(self, name: str) -> AsyncIterator[Stats]:
        await self._answer()
        while self._get(name).sandbox.status == "running":
            now = self.stats_now or Stats(at=datetime.now(UTC), cpu_percent=1.0, memory_bytes=1000)
            yield replace(now, at=datetime.now(UTC))
            await asyncio.sleep(0.02)

    async def logs(self, name: str, *, follow: bool = False, tail: int = 200) -> AsyncIterator[LogLine]:
        await self._answer()
        held, shown = self._get(name), 0
        shown = max(0, len(held.lines) - tail)
        while True:
            while shown < len(held.lines):
                yield held.lines[shown]
                shown += 1
            if not follow or held.sandbox.status != "running":
                return
            await asyncio.sleep(0.02)

    async def stop(self, name: str, *, grace_seconds: float = 10) -> None:
        assert grace_seconds >= 0
        await self._answer()
        if name in self.held and self.held[name].sandbox.status in ("running", "paused"):
            self._end(name, status="stopped", exit_code=143, what="die")

    async def start(self, name: str) -> Sandbox:
        await self._answer("start")
        held = self._get(name)
        if held.sandbox.status == "stopped":
            held.sandbox = replace(held.sandbox, status="running", exit_code=None, out_of_memory=False)
            self._run(name)
            self._tell(name, "start")
        return held.sandbox

    async def pause(self, name: str) -> None:
        await self._answer()
        if not self.can_pause:
            raise NotSupported("this engine lets nothing stand still")
        self._be(name, status="paused")

    async def resume(self, name: str) -> None:
        await self._answer()
        self._be(name, status="running")

    async def delete(self, name: str) -> None:
        await self._answer("delete")
        if name in self.held:
            self._end(name, status="stopped", exit_code=137, what="destroy")
            del self.held[name]

    async def find(self, name: str) -> Sandbox | None:
        await self._answer()
        held = self.held.get(name)
        return held.sandbox if held else None

    async def list(self) -> list[Sandbox]:
        await self._answer()
        return [held.sandbox for held in self.held.values()]

    async def changes(self) -> AsyncIterator[Change]:
        queue: asyncio.Queue[Change | None] = asyncio.Queue()
        self._listeners.add(queue)
        try:
            while (change := await queue.get()) is not None:
                yield change
        finally:
            self._listeners.discard(queue)

    async def close(self) -> None:
        """What runs goes on."""

    async def at_address(self, address: str) -> Sandbox | None:
        await self._answer()
        return next((held.sandbox for held in self.held.values() if address_of(held.sandbox) == address), None)

    # what a test does to it

    def kill(self, name: str, exit_code: int = 137) -> None:
        """The process in it dies."""
        self._end(name, status="stopped", exit_code=exit_code, what="die")

    def out_of_memory(self, name: str) -> None:
        self.held[name].sandbox = replace(self.held[name].sandbox, out_of_memory=True)
        self._end(name, status="stopped", exit_code=137, what="oom")

    def lose(self, name: str) -> None:
        """It is gone, and nobody tells."""
        self._end(name, status="stopped", exit_code=137, what=None)
        del self.held[name]

    def sicken(self, name: str) -> None:
        self._be(name, healthy=False)
        self._tell(name, "health_status: unhealthy")

    def print(self, name: str, *lines: str) -> None:
        self.held[name].lines += [LogLine(datetime.now(UTC), line) for line in lines]

    def go_away(self) -> None:
        self.is_away = True
        for queue in self._listeners:
            queue.put_nowait(None)

    def come_back(self) -> None:
        self.is_away = False

    def of(self, owner: str) -> Sequence[Held]:
        return [held for held in self.held.values() if held.spec.owner_id == owner]

    async def shut_down(self) -> None:
        """The end of the test: nothing of it goes on."""
        for task in self._processes:
            task.cancel()
        await asyncio.gather(*self._processes, return_exceptions=True)

    async def _answer(self, asked: str = "") -> None:
        await asyncio.sleep(0)
        if self.is_away:
            raise EngineAway("the engine does not answer")
        if asked in self.refusals:
            raise self.refusals[asked]

    def _get(self, name: str) -> Held:
        if name not in self.held:
            raise NotThere(name)
        return self.held[name]

    def _be(self, name: str, **changes: Any) -> None:
        held = self._get(name)
        held.sandbox = replace(held.sandbox, **changes)

    def _run(self, name: str) -> None:
        held = self.held[name]
        if self.main is not None:
            held.process = asyncio.ensure_future(self.main(held.spec))
            self._processes.append(held.process)
        owner = held.spec.owner_id
        running = sum(1 for one in self.of(owner) if one.sandbox.status == "running")
        self.most_at_once[owner] = max(self.most_at_once.get(owner, 0), running)

    def _end(self, name: str, *, status: str, exit_code: int, what: str | None) -> None:
        held = self.held[name]
        if held.process is not None:
            held.process.cancel()
        self._be(name, status=status, exit_code=exit_code)
        if what is not None:
            self._tell(name, what)

    def _tell(self, name: str, what: str) -> None:
        for queue in self._listeners:
            queue.put_nowait(Change(name, what))

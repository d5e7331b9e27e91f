"""Sandboxes as containers of a Docker engine."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime

import structlog

from runyard_events.catalogue import Method
from runyard_sandbox.disk import DiskUse, disk_use
from runyard_sandbox.docker.at_rest import AtRest
from runyard_sandbox.docker.containers import Containers
from runyard_sandbox.docker.engine import Engine, Json, NoAnswer, Refused, labelled, part
from runyard_sandbox.docker.execs import run_inside
from runyard_sandbox.docker.images import Images
from runyard_sandbox.docker.labels import ADDRESS, GROUP, NETWORK, SANDBOX, of_kind
from runyard_sandbox.docker.leftovers import Leftover, Leftovers
from runyard_sandbox.docker.reading import from_inspection, from_stats, from_summary, written_folders
from runyard_sandbox.docker.settings import DockerSettings
from runyard_sandbox.docker.sharing import Shared
from runyard_sandbox.docker.streams import Streams
from runyard_sandbox.docker.surroundings import Surroundings
from runyard_sandbox.provisioner import (
    Change,
    EngineAway,
    ExecResult,
    LogLine,
    NotThere,
    ProvisionFailed,
    Sandbox,
    SandboxFault,
    Spec,
    Stats,
)

_CLOSE_SECONDS = 15.0
_log = structlog.get_logger()


class DockerProvisioner:
    """One engine, and on it the sandboxes of one installation."""

    def __init__(self, settings: DockerSettings) -> None:
        self._settings = settings
        self._engine = Engine(
            settings.base_url,
            call_seconds=settings.call_seconds,
            start_seconds=settings.start_seconds,
            calls_at_once=settings.calls_at_once,
        )
        self._containers = Containers(self._engine, settings)
        self._streams = Streams(self._engine)
        self._at_rest = AtRest()
        self._measured = Shared[Stats]()
        self._disk = DiskUse(settings.disk_seconds)
        self._around = None if settings.network is None else Surroundings(self._engine, settings, settings.network)
        around = self._around
        self._images = around and Images(self._engine, self._streams, settings.installation, around)
        self._leftovers = Leftovers(self._engine, settings.installation, around, self._images)

    @property
    def method(self) -> Method:
        """`docker`."""
        return "docker"

    @property
    def images(self) -> Images | None:
        """Builds images; None where sandboxes have no network, and so nothing that holds a build."""
        return self._images

    async def check(self) -> None:
        """Raises `EngineAway` when the engine does not answer."""
        await self._engine.ping()

    async def provision(self, spec: Spec) -> Sandbox:
        """Creates and starts the container of a spec; the one that it made before is returned as it is.

        Raises:
            ProvisionFailed: the engine refused; what was made is gone again.
            EngineAway: the engine does not answer; what was made is found the next time.
        """
        try:
            if (there := await self._containers.reusable(spec)) is not None:
                return self._sandbox(there)
            if self._around is None:
                return self._sandbox(await self._containers.make(spec, None))
            return self._sandbox(await self._make(spec, self._around))
        except NoAnswer as error:
            await self.check()  # one that answers nothing at all is away; else it hangs with this
            raise ProvisionFailed(f"the container's surroundings cannot be had: {error}") from None

    async def exec(
        self,
        name: str,
        command: Sequence[str],
        *,
        stdin: bytes | None = None,
        timeout_seconds: float = 30,
    ) -> ExecResult:
        """Runs a command in it as its own user. After a `TimeoutError` the command goes on inside."""
        await self._containers.get(name)
        try:
            return await run_inside(self._engine, name, command, stdin=stdin, timeout_seconds=timeout_seconds)
        except Refused as error:
            raise _missing(name) if error.is_missing else SandboxFault(str(error)) from None

    async def stats(self, name: str) -> AsyncIterator[Stats]:
        """What it uses, once a second, and once more when it has ended. Its files are looked at now and then."""
        data = await self._containers.get(name)
        async with aclosing(self._measured.follow(name, lambda: self._readings(name, data))) as readings:
            async for reading in readings:
                yield reading

    async def logs(self, name: str, *, follow: bool = False, tail: int = 200) -> AsyncIterator[LogLine]:
        """What it printed, and with `follow` what it prints until it ends."""
        await self._containers.get(name)
        try:
            async for line in self._streams.logs(name, follow=follow, tail=tail):
                yield line
        except Refused as error:
            raise _missing(name) if error.is_missing else SandboxFault(str(error)) from None

    async def stop(self, name: str, *, grace_seconds: float = 10) -> None:
        """Ends its processes; the container and its own files stay."""
        await self._containers.stop(name, grace_seconds)

    async def start(self, name: str) -> Sandbox:
        """Starts a stopped one again, on the network that it had."""
        self._at_rest.forget(str((await self._containers.get(name))["Id"]))
        await self._containers.start(name)
        return self._sandbox(await self._containers.get(name))

    async def pause(self, name: str) -> None:
        """Freezes its processes."""
        await self._containers.pause(name)

    async def resume(self, name: str) -> None:
        """Thaws them."""
        await self._containers.resume(name)

    async def delete(self, name: str) -> None:
        """Removes the container with everything that was made for it."""
        if (data := await self._containers.find(name)) is None:
            return
        await self._containers.remove(name)
        if self._around is not None:
            await self._around.take_back(name, _network(data), part(data, "Config", "Labels").get(GROUP))

    async def find(self, name: str) -> Sandbox | None:
        """One of them as it is now."""
        data = await self._containers.find(name)
        if data is None:
            return None
        return replace(self._sandbox(data), outdated=await self._containers.is_outdated(data))

    async def list(self) -> list[Sandbox]:
        """All of this installation, at rest or not. What this process serves for them is served again."""
        summaries = await self._engine.containers(labelled(of_kind(self._settings.installation, SANDBOX)))
        if self._around is not None:
            await self._around.follow(summaries)
        self._at_rest.keep_only(summaries)
        found = await asyncio.gather(*(self._listed(each) for each in summaries))
        return [sandbox for sandbox in found if sandbox is not None]

    async def changes(self) -> AsyncIterator[Change]:
        """What the engine tells of our containers from now on."""
        try:
            async for event in self._streams.events(of_kind(self._settings.installation, SANDBOX)):
                yield Change(str(event["Actor"]["Attributes"].get("name", "")), str(event["Action"]))
        except (EngineAway, Refused):
            return

    async def close(self) -> None:
        """Lets go of the engine; sandboxes go on. Without any, the proxy and spare networks are removed too."""
        if self._around is not None:
            try:
                async with asyncio.timeout(_CLOSE_SECONDS):
                    await self._dismantle(self._around)
            except (SandboxFault, TimeoutError) as error:
                _log.warning("sandbox.proxy_kept", reason=str(error))
            await self._around.close()
        await self._disk.close()
        await self._streams.close()
        await self._engine.close()

    async def _readings(self, name: str, data: Json) -> AsyncGenerator[Stats]:
        async def look() -> int | None:
            return await self._disk_bytes(name, data)

        last: Stats | None = None
        try:
            async for told in self._streams.stats(name):
                if (reading := from_stats(told)) is None:
                    break
                last = replace(reading, disk_bytes=await self._disk.of(name, look))
                yield last
        except Refused as error:
            raise _missing(name) if error.is_missing else SandboxFault(str(error)) from None
        if last is not None:
            left = await self._disk.last(name, look)
            yield replace(last, at=datetime.now(UTC), cpu_percent=0.0, memory_bytes=0, processes=0, disk_bytes=left)

    async def _disk_bytes(self, name: str, data: Json) -> int | None:
        """What lies in the folders that it may write to, and what it has written beside them."""
        found = await asyncio.to_thread(disk_use, written_folders(data))
        if found is None or part(data, "HostConfig").get("ReadonlyRootfs"):
            return found
        return found + (await self._engine.written_bytes(name) or 0)

    async def at_address(self, address: str) -> Sandbox | None:
        """Whose network address this is: the `peer` of the proxy's questions."""
        if self._around is not None and (build := self._around.tenancy(address)) is not None:
            return Sandbox(
                name=f"build-{build.owner_id}-{build.epoch}",
                native_id="",
                status="running",
                purpose="preview",
                tenant_id=build.tenant_id,
                owner_id=build.owner_id,
                epoch=build.epoch,
            )
        labels = of_kind(self._settings.installation, SANDBOX) | {ADDRESS: address}
        found = await self._engine.containers(labelled(labels))
        return await self._listed(found[0]) if found else None

    async def reap(self) -> Sequence[Leftover]:
        """Removes containers, networks and volumes of this installation that belong to no sandbox."""
        return await self._leftovers.reap()

    async def _make(self, spec: Spec, around: Surroundings) -> Json:
        place = await around.give(spec)
        try:
            data = await self._containers.make(spec, place)
        except BaseException:
            await around.take_back(spec.name, place.network, spec.group)
            raise
        if _network(data) == place.network:
            around.settle(place)
        else:  # somebody with the same task was faster
            await around.take_back(spec.name, place.network, spec.group)
        return data

    async def _dismantle(self, around: Surroundings) -> None:
        if not await self._engine.containers(labelled(of_kind(self._settings.installation, SANDBOX))):
            await around.dismantle()

    async def _listed(self, summary: Json) -> Sandbox | None:
        if (known := from_summary(summary, self._page_address)) is not None:
            return known
        if (known := self._at_rest.of(summary)) is not None:
            return known
        data = await self._containers.find(str(summary["Names"][0]).removeprefix("/"))
        if data is None:
            return None
        found = self._sandbox(data)
        self._at_rest.learn(summary, found)
        return found

    def _sandbox(self, data: Json) -> Sandbox:
        return from_inspection(data, self._page_address)

    @property
    def _page_address(self) -> str:
        network = self._settings.network
        return "127.0.0.1" if network is None else network.page_address or network.page_host


def _network(data: Json) -> str | None:
    return part(data, "Config", "Labels").get(NETWORK)


def _missing(name: str) -> NotThere:
    return NotThere(f"there is no sandbox {name}")

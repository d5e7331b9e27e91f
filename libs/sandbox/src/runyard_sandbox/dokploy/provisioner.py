"""Sandboxes as Dokploy's applications."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Sequence

from runyard_events.catalogue import Method
from runyard_sandbox.dokploy import application as bodies
from runyard_sandbox.dokploy.api import DokployApi, Row
from runyard_sandbox.dokploy.applications import Applications, Ours
from runyard_sandbox.dokploy.logs import Seen
from runyard_sandbox.dokploy.settings import DokploySettings
from runyard_sandbox.provisioner import (
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
from runyard_sandbox.remote import Refused

_MOST_LINES = 10_000
_AT_ONCE = 8
_SETTLED = frozenset({"running", "stopped", "error"})


class DokployProvisioner:
    """One Dokploy server."""

    def __init__(self, settings: DokploySettings) -> None:
        self._settings = settings
        self._api = DokployApi(settings)
        self._applications = Applications(self._api, settings)

    @property
    def method(self) -> Method:
        """`dokploy`."""
        return "dokploy"

    async def check(self) -> None:
        """Raises `EngineAway` when the server does not answer or does not take the key."""
        await self._api.projects()

    async def provision(self, spec: Spec) -> Sandbox:
        """Creates an application, deploys it and waits until its container runs.

        Raises:
            ProvisionFailed: Dokploy refused or its deployment failed; the application is gone again.
            EngineAway: Dokploy does not answer; what was made is found or removed the next time.
        """
        bodies.refuse_what_it_cannot(spec, self._settings)
        if (there := await self._reusable(spec)) is not None:
            return there
        try:
            made = await self._api.create_application(
                bodies.created(spec, self._settings, await self._applications.environment())
            )
        except Refused as error:
            raise ProvisionFailed(str(error)) from None
        identifier = str(made["applicationId"])
        try:
            await self._configure(spec, identifier)
            await self._api.deploy(identifier)
            return await self._until_running(identifier)
        except NotThere:
            raise ProvisionFailed("somebody removed it while it was started") from None
        except Refused as error:
            await self._discard(identifier)
            raise ProvisionFailed(str(error)) from None
        except ProvisionFailed:
            await self._discard(identifier)
            raise

    async def exec(
        self,
        name: str,
        command: Sequence[str],
        *,
        stdin: bytes | None = None,
        timeout_seconds: float = 30,
    ) -> ExecResult:
        """Not offered by Dokploy's API."""
        _ = name, command, stdin, timeout_seconds
        raise NotSupported("Dokploy's API cannot run a command in a container")

    async def stats(self, name: str) -> AsyncIterator[Stats]:
        """Not offered by Dokploy's API: it measures only while somebody looks at its own pages."""
        raise NotSupported(f"Dokploy's API has no statistics of {name}")
        yield

    async def logs(self, name: str, *, follow: bool = False, tail: int = 200) -> AsyncIterator[LogLine]:
        """What the container printed; those to come are asked for every `poll_seconds`."""
        identifier = (await self._applications.get(name)).id
        text = await self._api.read_logs(identifier, tail=min(max(tail, 1), _MOST_LINES), since="all")
        seen = Seen()
        for line in seen.fresh(text):
            yield line
        while follow:
            await asyncio.sleep(self._settings.poll_seconds)
            since = f"{math.ceil(3 * self._settings.poll_seconds) + 5}s"
            for line in seen.fresh(await self._api.read_logs(identifier, tail=_MOST_LINES, since=since)):
                yield line
            if (await self._sandbox(identifier)).status in {"stopped", "error"}:
                return

    async def stop(self, name: str, *, grace_seconds: float = 10) -> None:
        """Scales its service to nothing. The grace is the swarm's own (10 s)."""
        _ = grace_seconds
        if (ours := await self._applications.find(name)) is not None:
            await self._control("stop", ours)

    async def start(self, name: str) -> Sandbox:
        """Scales its service to one."""
        ours = await self._applications.get(name)
        await self._api.control("start", ours.id)
        return await self._settled(ours.id)

    async def pause(self, name: str) -> None:
        """Not offered by Dokploy."""
        raise NotSupported(f"Dokploy cannot pause {name}; it can be stopped")

    async def resume(self, name: str) -> None:
        """Not offered by Dokploy."""
        raise NotSupported(f"Dokploy cannot resume {name}; it can be started")

    async def delete(self, name: str) -> None:
        """Removes the application with its service, mounts and deployments."""
        if (ours := await self._applications.find(name)) is not None:
            await self._control("delete", ours)

    async def find(self, name: str) -> Sandbox | None:
        """One of them as it is now."""
        ours = await self._applications.find(name)
        if ours is None:
            return None
        try:
            return await self._sandbox(ours.id)
        except NotThere:
            return None

    async def list(self) -> list[Sandbox]:
        """All applications of this installation."""
        gate = asyncio.Semaphore(_AT_ONCE)

        async def look(identifier: str) -> Sandbox | None:
            async with gate:
                try:
                    return await self._sandbox(identifier)
                except NotThere:
                    return None

        found = await asyncio.gather(*(look(one.id) for one in await self._applications.all()))
        return [one for one in found if one is not None]

    async def changes(self) -> AsyncIterator[Change]:
        """Differences between one look every `poll_seconds` and the next; Dokploy tells of nothing by itself."""
        known = {one.name: one.status for one in await self.list()}
        while True:
            await asyncio.sleep(self._settings.poll_seconds)
            try:
                now = {one.name: one.status for one in await self.list()}
            except EngineAway:
                return
            for name in sorted(known.keys() | now.keys()):
                if known.get(name) != now.get(name):
                    yield Change(name, now.get(name, "destroy"))
            known = now

    async def close(self) -> None:
        """Lets go of the server; what runs goes on."""
        await self._api.close()

    async def _reusable(self, spec: Spec) -> Sandbox | None:
        """The application of an earlier attempt; one that was never deployed is removed."""
        ours = await self._applications.find(spec.name)
        if ours is None:
            return None
        if ours.whose.epoch != spec.epoch:
            raise ProvisionFailed(f"{spec.name} is there already, as number {ours.whose.epoch} of its owner")
        identifier = ours.id
        if await self._api.deployments(identifier):
            return await self._settled(identifier)
        await self._control("delete", ours)
        return None

    async def _configure(self, spec: Spec, identifier: str) -> None:
        await self._api.save("saveDockerProvider", bodies.docker_provider(spec, self._settings, identifier))
        await self._api.save("saveEnvironment", bodies.environment(spec, identifier))
        await self._api.save("update", bodies.update(spec, self._settings, identifier))
        for mount in spec.mounts:
            await self._api.create_mount(bodies.bind(mount, self._settings, identifier))

    async def _until_running(self, identifier: str) -> Sandbox:
        deadline = time.monotonic() + self._settings.deploy_seconds
        while time.monotonic() < deadline:
            deployments = await self._api.deployments(identifier)
            newest = deployments[0] if deployments else Row()
            if newest.get("status") in {"done", "error", "cancelled"}:
                now = await self._sandbox(identifier)
                if newest["status"] != "done" or now.status == "error":
                    raise await self._failed(identifier, newest)
                if now.status != "creating":
                    return now
            await asyncio.sleep(self._settings.poll_seconds)
        raise ProvisionFailed(f"it did not run within {self._settings.deploy_seconds:g} s")

    async def _failed(self, identifier: str, deployment: Row) -> ProvisionFailed:
        row = await self._api.application(identifier)
        tasks = await self._api.tasks(str(row["appName"]), row.get("serverId"))
        messages = [str(deployment.get("errorMessage") or ""), *(str(task.get("error") or "") for task in tasks)]
        reason, told = bodies.failure(messages)
        return ProvisionFailed(told, reason=reason)

    async def _settled(self, identifier: str) -> Sandbox:
        """As it is once it is no longer on its way, or when patience has ended."""
        deadline = time.monotonic() + self._settings.deploy_seconds
        while True:
            now = await self._sandbox(identifier)
            if now.status in _SETTLED or time.monotonic() >= deadline:
                return now
            await asyncio.sleep(self._settings.poll_seconds)

    async def _discard(self, identifier: str) -> None:
        try:
            await self._api.control("delete", identifier)
        except SandboxFault:
            return  # found again by its description, and removed by whoever reconciles

    async def _control(self, route: str, ours: Ours) -> None:
        try:
            await self._api.control(route, ours.id)
        except Refused as error:
            if not error.is_missing:
                raise

    async def _sandbox(self, identifier: str) -> Sandbox:
        try:
            row = await self._api.application(identifier)
        except Refused as error:
            if error.is_missing:
                raise NotThere(identifier) from None
            raise
        whose = bodies.identity(row.get("description"))
        if whose is None:
            raise NotThere(identifier)
        is_deployed = row["applicationStatus"] == "done"
        tasks = await self._api.tasks(str(row["appName"]), row.get("serverId")) if is_deployed else []
        return bodies.sandbox(row, whose, tasks)

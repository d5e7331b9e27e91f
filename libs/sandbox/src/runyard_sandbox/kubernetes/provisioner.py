"""Sandboxes as Sandbox resources of the agent-sandbox project."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runyard_events.catalogue import Method
from runyard_sandbox.kubernetes import manifests, reading
from runyard_sandbox.kubernetes.api import REMEDY, KubeApi
from runyard_sandbox.kubernetes.labels import AT_REST, INSTALLATION, NAME, Identity, identity
from runyard_sandbox.kubernetes.settings import KubernetesSettings
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
from runyard_sandbox.timestamps import log_line


@dataclass(frozen=True, slots=True)
class _Ours:
    """A Sandbox of this installation, and its pod if there is one."""

    resource: manifests.Manifest
    whose: Identity
    pod: manifests.Manifest | None

    def seen(self) -> Sandbox:
        return reading.sandbox(self.resource, self.whose, self.pod)


class KubernetesProvisioner:
    """One namespace of one cluster. What suspends a sandbox ends its processes, whether stopped or paused."""

    def __init__(self, settings: KubernetesSettings) -> None:
        self._settings = settings
        self._api = KubeApi(settings)

    @property
    def method(self) -> Method:
        """`kubernetes`."""
        return "kubernetes"

    async def check(self) -> None:
        """Raises `EngineAway` when the server does not answer, or our account may not make sandboxes."""
        if not await self._api.may("create", "Sandbox", manifests.AGENTS.partition("/")[0]):
            where = self._settings.namespace
            raise EngineAway(f"Kubernetes: our account may not make sandboxes in {where} ({REMEDY})")

    async def provision(self, spec: Spec) -> Sandbox:
        """Creates a Sandbox and waits until its container runs.

        Raises:
            ProvisionFailed: refused, or its pod does not run; it is gone again.
            EngineAway: the server does not answer; what was made is taken up the next time.
        """
        try:
            wanted = manifests.sandbox_manifest(spec, self._settings, proxy=await self._proxy())
            await self._api.apply(manifests.network_policy(self._settings))
            resource = await self._created(wanted, spec)
            if spec.env:
                await self._with_environment(spec, str(resource["metadata"]["uid"]))
            return await self._until_running(spec.name)
        except Refused as error:
            raise ProvisionFailed(str(error)) from None
        except NotThere:
            raise ProvisionFailed("somebody removed it while it was started") from None

    async def exec(
        self,
        name: str,
        command: Sequence[str],
        *,
        stdin: bytes | None = None,
        timeout_seconds: float = 30,
    ) -> ExecResult:
        """Runs a command in the container. One that did not end in time goes on: Kubernetes cannot end it."""
        pod = await self._pod_name(name)
        async with asyncio.timeout(timeout_seconds):
            return await self._api.exec(pod, command, stdin)

    async def stats(self, name: str) -> AsyncIterator[Stats]:
        """What the metrics API has measured, until the sandbox is at rest."""
        if not await self._api.has_metrics():
            raise NotSupported("this cluster has no metrics API (metrics-server)")
        last = None
        while True:
            ours = await self._get(name)
            if ours.pod is None or ours.seen().status not in {"creating", "running"}:
                return
            measured = await self._api.metrics(str(ours.pod["metadata"]["name"]))
            if measured is not None and measured["timestamp"] != last:
                last = measured["timestamp"]
                yield reading.stats(measured)
            await asyncio.sleep(self._settings.stats_seconds)

    async def logs(self, name: str, *, follow: bool = False, tail: int = 200) -> AsyncIterator[LogLine]:
        """What the container printed. A suspended sandbox has no pod and so no logs."""
        ours = await self._get(name)
        if ours.pod is None:
            return
        async with self._api.logs(str(ours.pod["metadata"]["name"]), follow=follow, tail=tail) as answer:
            async for line in answer.aiter_lines():
                yield log_line(line)

    async def stop(self, name: str, *, grace_seconds: float = 10) -> None:
        """Suspends it. The grace is the pod's own (10 s)."""
        _ = grace_seconds
        await self._suspend(name, "stopped")

    async def start(self, name: str) -> Sandbox:
        """Lets the controller make its pod again. Raises `NotThere`."""
        ours = await self._get(name)
        if ours.pod is not None and reading.has_ended(ours.pod):
            await self._api.delete("Pod", str(ours.pod["metadata"]["name"]))
        await self._set_mode(ours, "Running", at_rest=None)
        return await self._until_running(name, keep=True)

    async def pause(self, name: str) -> None:
        """Suspends it: the pod's processes end, the files of the shared storage stay."""
        await self._suspend(name, "paused")

    async def resume(self, name: str) -> None:
        """The same as starting it."""
        ours = await self._get(name)
        if ours.seen().status == "paused":
            await self.start(name)

    async def delete(self, name: str) -> None:
        """Removes it; its pod and its Secret belong to it and go with it."""
        there = await self._api.find("Sandbox", name)
        if there is not None and self._is_ours(there):
            await self._api.delete("Sandbox", name)

    async def find(self, name: str) -> Sandbox | None:
        """One of them as it is now."""
        ours = await self._find(name)
        return None if ours is None else ours.seen()

    async def list(self) -> list[Sandbox]:
        """All of this installation."""
        selector = f"{INSTALLATION}={self._settings.installation}"
        resources, _ = await self._api.list("Sandbox", selector)
        pods = {pod["metadata"]["labels"].get(NAME): pod for pod in (await self._api.list("Pod", selector))[0]}
        marked = ((resource, identity(resource)) for resource in resources)
        return [_Ours(one, whose, pods.get(whose.name)).seen() for one, whose in marked if whose is not None]

    async def changes(self) -> AsyncIterator[Change]:
        """What happens to their pods; ends when the watch does, which a server may do at any time."""
        selector = f"{INSTALLATION}={self._settings.installation}"
        try:
            _, version = await self._api.list("Pod", selector)
            async with self._api.watch_pods(selector, version) as answer:
                async for line in answer.aiter_lines():
                    event: Mapping[str, Any] = json.loads(line)
                    if event["type"] == "ERROR":
                        return
                    whose = identity(event["object"])
                    if whose is not None:
                        yield Change(whose.name, reading.change(str(event["type"]), event["object"]))
        except EngineAway:
            return

    async def close(self) -> None:
        """Lets go of the cluster; what runs goes on."""
        await self._api.close()

    async def _proxy(self) -> str:
        """The address of our proxy. It is asked for each time: somebody may have made the Service anew."""
        name = self._settings.reach.service
        service = await self._api.find("Service", name)
        address = str((service or {}).get("spec", {}).get("clusterIP") or "None")
        if address == "None":
            where = self._settings.namespace
            raise ProvisionFailed(f"there is no Service {name} with an address of its own in {where}")
        return address

    async def _created(self, manifest: manifests.Manifest, spec: Spec) -> manifests.Manifest:
        try:
            return await self._api.create(manifest)
        except Refused as error:
            if not error.is_there_already:
                raise
        there = await self._api.find(manifest["kind"], spec.name)
        whose = None if there is None else identity(there)
        if there is None or whose is None or (whose.owner_id, whose.epoch) != (spec.owner_id, spec.epoch):
            raise ProvisionFailed(f"{spec.name} is there already, and is not this one")
        return there

    async def _with_environment(self, spec: Spec, owner_uid: str) -> None:
        """The pod waits for this; made after the Sandbox so that it goes with it, whatever happens to us."""
        try:
            await self._api.create(manifests.secret_manifest(spec, self._settings, owner_uid))
        except Refused as error:
            if not error.is_there_already:
                await self._discard(spec.name)
                raise
        except ProvisionFailed:
            await self._discard(spec.name)
            raise

    async def _until_running(self, name: str, *, keep: bool = False) -> Sandbox:
        deadline = time.monotonic() + self._settings.start_seconds
        while True:
            ours = await self._get(name)
            now = ours.seen()
            is_late = time.monotonic() >= deadline
            if now.status == "error" or (is_late and now.status == "creating"):
                reason, told = reading.why_not(ours.pod)
                if not keep:
                    await self._discard(name)
                raise ProvisionFailed(told, reason=reason)
            if now.status != "creating":
                return now
            await asyncio.sleep(self._settings.poll_seconds)

    async def _discard(self, name: str) -> None:
        try:
            await self.delete(name)
        except SandboxFault:
            return  # found again by its labels, and removed by whoever reconciles

    async def _suspend(self, name: str, at_rest: str) -> None:
        ours = await self._find(name)
        if ours is not None and ours.seen().status not in {"stopped", "paused"}:
            await self._set_mode(ours, "Suspended", at_rest=at_rest)

    async def _set_mode(self, ours: _Ours, mode: str, *, at_rest: str | None) -> None:
        change = {"metadata": {"annotations": {AT_REST: at_rest}}, "spec": {"operatingMode": mode}}
        await self._api.patch("Sandbox", ours.whose.name, change)

    async def _pod_name(self, name: str) -> str:
        ours = await self._get(name)
        if ours.pod is None:
            raise NotThere(f"{name} has no pod")
        return str(ours.pod["metadata"]["name"])

    async def _get(self, name: str) -> _Ours:
        ours = await self._find(name)
        if ours is None:
            raise NotThere(name)
        return ours

    async def _find(self, name: str) -> _Ours | None:
        resource = await self._api.find("Sandbox", name)
        whose = None if resource is None else identity(resource)
        if resource is None or whose is None or not self._is_ours(resource):
            return None
        selector = f"{INSTALLATION}={self._settings.installation},{NAME}={name}"
        pods, _ = await self._api.list("Pod", selector)
        return _Ours(resource, whose, pods[0] if pods else None)

    def _is_ours(self, resource: Mapping[str, Any]) -> bool:
        return resource["metadata"].get("labels", {}).get(INSTALLATION) == self._settings.installation

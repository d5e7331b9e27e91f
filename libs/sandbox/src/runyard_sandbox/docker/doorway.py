"""The installation's one proxy container: made when the first sandbox needs it, replaced when it would be another."""

import asyncio
import hashlib
import json
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

from runyard_sandbox.docker.arguments import LOGGING
from runyard_sandbox.docker.engine import Engine, Json, Refused, labelled, part
from runyard_sandbox.docker.labels import CONFIG, PROXY, SESSION_NETWORK, UPLINK, of_kind
from runyard_sandbox.docker.relay import PAGES, Relay
from runyard_sandbox.docker.settings import EGRESS_PORT, DockerSettings, Forward, NetworkSettings
from runyard_sandbox.docker.subnets import Slot, slot_of
from runyard_sandbox.provisioner import MIB, ProvisionFailed
from runyard_sandbox.proxy.config import TOKEN_VARIABLE, VARIABLE, ProxyConfig, Target
from runyard_sandbox.proxy.names import PORT

_SHARED = Path("/run/runyard")
_READY_SECONDS = 30.0
_LOOK_SECONDS = 0.02
_RESTARTS = 3
_MEMORY = 256 * MIB
_CPUS = 1_000_000_000
"""Of a thousand million a core: as much as its one thread can use."""
_DECISIONS = "decisions"


class Doorway:
    """The proxy's container and its network to the outside."""

    def __init__(self, engine: Engine, settings: DockerSettings, network: NetworkSettings) -> None:
        self._engine = engine
        self._settings = settings
        self._network = network
        self.name = f"runyard-{settings.installation}-proxy"
        self._uplink = f"runyard-{settings.installation}-uplink"
        self.relay = Relay(network.relay_folder, _services(network), private=network.relay_volume is None)
        self._lock = asyncio.Lock()
        self._image: str | None = None

    async def ensure(self) -> None:
        """The proxy runs, is this installation's present one, and listens.

        Raises:
            ProvisionFailed: it cannot be had.
        """
        async with self._lock:
            try:
                await self.relay.start(self._settings.user)
            except OSError as error:
                raise ProvisionFailed(f"the proxy's sockets cannot be served: {error}") from None
            there = await self._engine.inspect_container(self.name)
            is_present = there is not None and await self._is_present(there)
            if is_present and part(there or {}, "State")["Running"]:
                return
            try:
                if not is_present or not await self._started():
                    await self._replace(there)
                    await self._engine.start_container(self.name)
            except Refused as error:
                raise ProvisionFailed(f"the proxy cannot be had: {error}") from None
            await self._until_listening()

    async def join(self, slot: Slot) -> None:
        """Gives the proxy its place on a sandbox's network."""
        try:
            await self._engine.connect(slot.network, self.name, slot.proxy)
        except Refused as error:
            if "already exists" not in str(error):
                raise

    async def rejoin(self, networks: Collection[str]) -> None:
        """Gives it back its places on these networks: it was made anew only half, or taken off them."""
        there = await self._engine.inspect_container(self.name) or {}
        missing = set(networks) - part(there, "NetworkSettings", "Networks").keys()
        if missing:
            for slot in await self._slots():
                if slot.network in missing:
                    await self.join(slot)

    async def leave(self, network: str) -> None:
        """Takes it away."""
        try:
            await self._engine.disconnect(network, self.name)
        except Refused:
            return  # it is not on it, or one of both is gone

    async def remove(self) -> None:
        """Removes the container and its network."""
        async with self._lock:
            for remove, name in (
                (self._engine.remove_container, self.name),
                (self._engine.remove_network, self._uplink),
            ):
                try:
                    await remove(name)
                except Refused as error:
                    if not error.is_missing:
                        raise

    async def _is_present(self, there: Json) -> bool:
        """A rebuilt image counts from this process's next start on: until then nobody's connections are cut."""
        if self._image is None:
            self._image = await self._engine.image_id(self._image_name)
        labels = part(there, "Config", "Labels")
        return labels.get(CONFIG) == self._fingerprint() and self._image in {None, there["Image"]}

    async def _replace(self, there: Json | None) -> None:
        if there is not None:
            await self._engine.remove_container(self.name)
        if await self._engine.image_id(self._image_name) is None:
            raise ProvisionFailed(f"there is no image {self._image_name}", reason="image_missing")
        await self._make_uplink()
        await self._engine.create_container(self.name, self._arguments())
        if self._network.service_network is not None:
            await self._engine.connect(self._network.service_network, self.name)
        for slot in await self._slots():
            await self.join(slot)

    async def _started(self) -> bool:
        """Whether the one that is there could be started: one whose way out was taken away never can."""
        try:
            await self._engine.start_container(self.name)
        except Refused:
            return False
        return True

    async def _slots(self) -> list[Slot]:
        labels = labelled(of_kind(self._settings.installation, SESSION_NETWORK))
        return [slot for slot in map(slot_of, await self._engine.networks(labels)) if slot is not None]

    async def _make_uplink(self) -> None:
        if await self._engine.inspect_network(self._uplink) is not None:
            return
        labels = of_kind(self._settings.installation, UPLINK)
        config = {"Name": self._uplink, "Driver": "bridge", "CheckDuplicate": True, "Labels": labels}
        try:
            await self._engine.create_network(config)
        except Refused as error:
            if not error.is_conflict:
                raise

    async def _until_listening(self) -> None:
        deadline = time.monotonic() + _READY_SECONDS
        while not await self.relay.proxy_listens():
            there = await self._engine.inspect_container(self.name)
            # The engine starts one that fails again and again: waiting on would be in vain.
            if there is None or there["RestartCount"] >= _RESTARTS or time.monotonic() > deadline:
                said = await self._engine.last_lines(self.name, 5)
                raise ProvisionFailed(f"the proxy {self.name} does not listen: {said or 'it says nothing'}")
            await asyncio.sleep(_LOOK_SECONDS)

    @property
    def _image_name(self) -> str:
        image = self._settings.proxy_image or self._settings.images.get("agent")
        if image is None:
            raise ProvisionFailed("no image is configured for the proxy", reason="image_missing")
        return image

    def _fingerprint(self) -> str:
        arguments = self._arguments(labels={})
        return hashlib.sha256(json.dumps(arguments, sort_keys=True).encode()).hexdigest()[:32]

    def _config(self) -> ProxyConfig:
        network = self._network
        return ProxyConfig(
            forwards={each.port: self._target(each, str(each.port)) for each in network.forwards},
            decisions=self._target(network.decisions, _DECISIONS),
            pages=str(_SHARED / "out" / PAGES),
            subnets=network.subnets,
            egress_port=EGRESS_PORT,
            names_port=PORT,
            private_networks=network.private_networks,
        )

    def _target(self, forward: Forward, name: str) -> Target:
        if self._network.service_network is None:
            return Target(path=str(_SHARED / "in" / f"{name}.sock"))
        return Target(host=forward.host, port=forward.target_port)

    def _arguments(self, labels: dict[str, str] | None = None) -> dict[str, Any]:
        env = [f"{VARIABLE}={self._config().encoded()}", "PYTHONUNBUFFERED=1", "PYTHONDONTWRITEBYTECODE=1"]
        if self._network.decisions_token:
            env.append(f"{TOKEN_VARIABLE}={self._network.decisions_token}")
        command = self._settings.proxy_command
        if labels is None:
            labels = of_kind(self._settings.installation, PROXY) | {CONFIG: self._fingerprint()}
        return {
            "Image": self._image_name,
            "Entrypoint": [command[0]],
            "Cmd": list(command[1:]),
            "User": self._settings.user,
            "Env": env,
            "Labels": labels,
            "Healthcheck": {"Test": ["NONE"]},
            "HostConfig": {
                "NetworkMode": self._uplink,
                "Memory": _MEMORY,
                "MemorySwap": _MEMORY,
                "NanoCpus": _CPUS,
                "PidsLimit": 64,
                "CapDrop": ["ALL"],
                "SecurityOpt": ["no-new-privileges:true"],
                "ReadonlyRootfs": True,
                "Tmpfs": {"/tmp": "rw,nosuid,nodev,noexec,size=16777216"},  # noqa: S108
                "Init": self._settings.init,
                # It is on every sandbox's network: nothing may be routed through it from one to another.
                # The second is for answering on port 53 without being root.
                "Sysctls": {"net.ipv4.ip_forward": "0", "net.ipv4.ip_unprivileged_port_start": str(PORT)},
                "Ulimits": [{"Name": "nofile", "Soft": 16384, "Hard": 16384}],
                "LogConfig": LOGGING,
                "RestartPolicy": {"Name": "always"},
                "Mounts": self._mounts(),
            },
        }

    def _mounts(self) -> list[dict[str, Any]]:
        volume = self._network.relay_volume
        if volume is not None:
            return [{"Type": "volume", "Source": volume, "Target": str(_SHARED)}]
        folders = ((self.relay.inward, "in", True), (self.relay.outward, "out", False))
        return [
            {"Type": "bind", "Source": str(source), "Target": str(_SHARED / target), "ReadOnly": read_only}
            for source, target, read_only in folders
        ]


def _services(network: NetworkSettings) -> dict[str, Target]:
    if network.service_network is not None:
        return {}
    found = {str(each.port): Target(host=each.host, port=each.target_port) for each in network.forwards}
    return found | {_DECISIONS: Target(host=network.decisions.host, port=network.decisions.target_port)}

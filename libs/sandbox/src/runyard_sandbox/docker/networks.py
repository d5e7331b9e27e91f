"""A network for each sandbox, some of them ready in advance."""

import asyncio
from collections.abc import Collection, Generator
from contextlib import contextmanager

import structlog

from runyard_sandbox.docker.doorway import Doorway
from runyard_sandbox.docker.engine import Engine, Refused, labelled
from runyard_sandbox.docker.labels import SESSION_NETWORK, of_kind
from runyard_sandbox.docker.settings import DockerSettings, NetworkSettings
from runyard_sandbox.docker.subnets import Slot, SubnetPool, slot_of
from runyard_sandbox.provisioner import ProvisionFailed, SandboxFault

_log = structlog.get_logger()


class Networks:
    """Makes, keeps ready and removes them. Which one is whose stands on the containers."""

    def __init__(self, engine: Engine, settings: DockerSettings, network: NetworkSettings, doorway: Doorway) -> None:
        self._engine = engine
        self._installation = settings.installation
        self._most_spare = network.spare
        self._pool = SubnetPool(network.subnets, network.prefix)
        self._doorway = doorway
        self._spare: list[Slot] = []
        self._held: set[str] = set()
        """Being made, or taken for a container that is not there yet."""
        self._lock = asyncio.Lock()
        self._adopted = False
        self._refilling: asyncio.Task[None] | None = None

    async def take(self, used: Collection[str]) -> Slot:
        """A network with the proxy on it, held until `settle`; `used` are those of all containers.

        Raises:
            ProvisionFailed: none can be had.
        """
        await self.adopt(used)
        return await self._ready() or await self._make()

    def settle(self, name: str) -> None:
        """Its container is there. Only now another is made ready: the engine does one thing at a time."""
        self._held.discard(name)
        self._refill()

    async def give_back(self, name: str) -> None:
        """Removes it: its addresses were those of a sandbox, which a later one shall not be taken for."""
        self._held.discard(name)
        await self._doorway.leave(name)
        try:
            await self._engine.remove_network(name)
        except Refused as error:
            if not error.is_missing:
                _log.warning("sandbox.network_kept", network=name, reason=str(error))

    async def all(self) -> list[Slot]:
        """Every one there is, in use or not."""
        found = await self._engine.networks(labelled(of_kind(self._installation, SESSION_NETWORK)))
        return [slot for slot in map(slot_of, found) if slot is not None]

    def is_wanted(self, name: str) -> bool:
        """Whether it waits for a sandbox, though no container has it."""
        return name in self._held or any(slot.network == name for slot in self._spare)

    async def forget_spares(self) -> None:
        """Removes those that wait."""
        await self.close()
        spare, self._spare = self._spare, []
        for slot in spare:
            await self.give_back(slot.network)

    async def close(self) -> None:
        """Makes no more."""
        if self._refilling is not None:
            self._refilling.cancel()
            await asyncio.gather(self._refilling, return_exceptions=True)

    async def adopt(self, used: Collection[str]) -> None:
        """What a former process kept ready is taken over; what it left is removed."""
        async with self._lock:
            if self._adopted:
                return
            for slot in await self.all():
                self._pool.skip_to(slot.subnet)
                if slot.network in used or self.is_wanted(slot.network):
                    continue
                if len(self._spare) < self._most_spare:
                    await self._join(slot)
                    self._spare.append(slot)
                else:
                    await self.give_back(slot.network)
            self._adopted = True

    def _refill(self) -> None:
        if self._refilling is None or self._refilling.done():
            self._refilling = asyncio.ensure_future(self._fill())

    async def _fill(self) -> None:
        try:
            while len(self._spare) < self._most_spare:
                slot = await self._make()
                self._spare.append(slot)
                self._held.discard(slot.network)
        except SandboxFault as error:
            _log.warning("sandbox.no_spare_network", reason=str(error))

    async def _ready(self) -> Slot | None:
        """One kept ready that is still there: anybody with the engine may have removed it."""
        while self._spare:
            slot = self._spare.pop(0)
            with self._holding(slot.network):
                if await self._engine.inspect_network(slot.network) is not None:
                    return slot
            self._held.discard(slot.network)
        return None

    async def _make(self) -> Slot:
        taken = {slot.subnet for slot in await self.all()}
        for subnet in self._pool.candidates(taken):
            slot = Slot(f"runyard-{self._installation}-{subnet.network_address}", subnet)
            with self._holding(slot.network):
                if await self._is_made(slot):
                    await self._join(slot)
                    return slot
            self._held.discard(slot.network)
        raise ProvisionFailed("every subnet of the sandboxes' pool is in use")

    async def _is_made(self, slot: Slot) -> bool:
        """Whether it could be made; False where its subnet or name is taken."""
        try:
            await self._engine.create_network(self._arguments(slot))
        except Refused as error:
            if _is_taken(error):
                return False  # by a network that is not ours, or that was made at the same moment
            raise ProvisionFailed(f"a network cannot be had: {error}") from None
        return True

    @contextmanager
    def _holding(self, name: str) -> Generator[None]:
        """It is wanted, unless this fails: then it is anybody's to remove."""
        self._held.add(name)
        try:
            yield
        except BaseException:
            self._held.discard(name)
            raise

    async def _join(self, slot: Slot) -> None:
        try:
            await self._doorway.join(slot)
        except Refused as error:
            await self.give_back(slot.network)
            raise ProvisionFailed(f"the proxy cannot be put on a network: {error}") from None

    def _arguments(self, slot: Slot) -> dict[str, object]:
        return {
            "Name": slot.network,
            "Driver": "bridge",
            "CheckDuplicate": True,
            "Internal": True,
            "EnableIPv6": False,
            "IPAM": {"Driver": "default", "Config": [{"Subnet": str(slot.subnet)}]},
            # Without an address of the host: an internal network alone would still lead to the host's ports.
            "Options": {"com.docker.network.bridge.inhibit_ipv4": "true"},
            "Labels": of_kind(self._installation, SESSION_NETWORK),
        }


def _is_taken(error: Refused) -> bool:
    words = str(error).lower()
    return error.is_conflict or "overlap" in words or "already exists" in words

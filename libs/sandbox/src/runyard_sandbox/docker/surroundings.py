"""What a sandbox needs around its container: a network of its own, the proxy on it, ports for its pages."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_address

import structlog

from runyard_sandbox.docker.arguments import Place
from runyard_sandbox.docker.doorway import Doorway
from runyard_sandbox.docker.engine import Engine, Json, Refused, labelled, part
from runyard_sandbox.docker.labels import ADDRESS, GROUP, NETWORK, SANDBOX, of_kind, pages_of
from runyard_sandbox.docker.networks import Networks
from runyard_sandbox.docker.pages import Pages
from runyard_sandbox.docker.settings import DockerSettings, NetworkSettings
from runyard_sandbox.docker.subnets import Slot
from runyard_sandbox.provisioner import ProvisionFailed, Spec

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Tenancy:
    """Whose build is on a network."""

    tenant_id: str
    owner_id: str
    epoch: int


class Surroundings:
    """Given and taken back; after a restart found again by what stands on the containers."""

    def __init__(self, engine: Engine, settings: DockerSettings, network: NetworkSettings) -> None:
        self._engine = engine
        self._filter = labelled(of_kind(settings.installation, SANDBOX))
        self._doorway = Doorway(engine, settings, network)
        self._networks = Networks(engine, settings, network, self._doorway)
        self._pages = Pages(self._doorway.relay, network)
        self._lent: dict[Slot, Tenancy] = {}

    async def give(self, spec: Spec) -> Place:
        """A place for a new container, on the network of its group if that has one already.

        Raises:
            ProvisionFailed: none can be had.
        """
        await self._doorway.ensure()
        summaries = await self._engine.containers(self._filter)
        slot, address, neighbours = await self._shared(spec, summaries)
        taken = [here for each in summaries for here in pages_of(part(each, "Labels")).values()]
        try:
            pages = await self._pages.give(spec.name, address, spec.ports, taken)
        except BaseException:
            await self.take_back(spec.name, slot.network, spec.group)
            raise
        return Place(slot.network, address, slot.proxy, pages, neighbours)

    async def _shared(self, spec: Spec, summaries: Sequence[Json]) -> tuple[Slot, str, Mapping[str, str]]:
        """Its network, its address there, and those of its group."""
        siblings = _of_group(summaries, spec.group)
        network = siblings[0].get(NETWORK) if siblings else None
        if network is None:
            slot = await self._networks.take(_networks_of(summaries))
        elif (found := next((one for one in await self._networks.all() if one.network == network), None)) is not None:
            slot = found
        else:
            raise ProvisionFailed("the network of its group is not there any more")
        # By their order each has the same address whoever comes first, so that all can be told of all.
        addresses = dict(zip(spec.neighbours, slot.sandboxes, strict=False))
        if len(addresses) < len(spec.neighbours):
            await self.take_back(spec.name, slot.network, spec.group)
            raise ProvisionFailed(f"a network has no room for {len(spec.neighbours)} neighbours")
        return slot, addresses.get(spec.alias or "", slot.sandbox), addresses

    def settle(self, place: Place) -> None:
        """The container is there and says itself what it has."""
        self._networks.settle(place.network)

    @asynccontextmanager
    async def lent(self, tenant_id: str, owner_id: str, epoch: int) -> AsyncGenerator[Slot]:
        """A network for a build of this owner, with nothing but the proxy on it, until the build has ended.

        Raises:
            ProvisionFailed: none can be had.
        """
        await self._doorway.ensure()
        slot = await self._networks.take(_networks_of(await self._engine.containers(self._filter)))
        self._lent[slot] = Tenancy(tenant_id, owner_id, epoch)
        try:
            yield slot
        finally:
            del self._lent[slot]
            await self._networks.give_back(slot.network)

    def tenancy(self, address: str) -> Tenancy | None:
        """Whose build has this network address."""
        found = ip_address(address)
        return next((whose for slot, whose in self._lent.items() if found in slot.subnet), None)

    async def take_back(self, name: str, network: str | None, group: str | None = None) -> None:
        """What a container had that is gone; the network of a group only with the last of it."""
        self._pages.close(name)
        if network is None:
            return
        # Whoever came too late for his group has taken a network that the group is not on.
        if group is None or network not in _networks_of(await self._engine.containers(self._filter)):
            await self._networks.give_back(network)

    async def follow(self, summaries: Sequence[Json]) -> None:
        """After a restart of this process or of anything else: whatever the containers have works again."""
        if not summaries:
            return
        try:
            await self._doorway.ensure()
            await self._doorway.rejoin(_networks_of(summaries))
        except (ProvisionFailed, Refused) as error:
            _log.warning("sandbox.no_proxy", reason=str(error))
            return
        await self._networks.adopt(_networks_of(summaries))
        running = [each for each in summaries if each["State"] == "running"]
        await self._pages.follow({_name(each): _pages(part(each, "Labels")) for each in running})

    async def stray_networks(self) -> list[str]:
        """Those that neither a container has nor we keep ready. Asked for in this order: one may be taken meanwhile."""
        found = [slot.network for slot in await self._networks.all() if not self._networks.is_wanted(slot.network)]
        used = _networks_of(await self._engine.containers(self._filter))
        return [name for name in found if name not in used]

    async def strangers(self) -> list[str]:
        """Containers on a sandbox's network that are neither it nor the proxy."""
        found: set[str] = set()
        for slot in await self._networks.all():
            if slot in self._lent:
                continue
            network = await self._engine.inspect_network(slot.network) or {}
            found |= {str(each["Name"]) for each in part(network, "Containers").values()}
        # Asked for in this order: a sandbox may have been made meanwhile.
        ours = {_name(each) for each in await self._engine.containers(self._filter)} | {self._doorway.name}
        return sorted(found - ours)

    async def dismantle(self) -> None:
        """Removes the proxy and the networks kept ready."""
        await self._networks.forget_spares()
        await self._doorway.remove()

    async def close(self) -> None:
        """Lets go of what only this process serves."""
        await self._networks.close()
        self._pages.close_all()
        await self._doorway.relay.close()


def _networks_of(summaries: Sequence[Json]) -> set[str]:
    return {name for each in summaries if (name := part(each, "Labels").get(NETWORK)) is not None}


def _of_group(summaries: Sequence[Json], group: str | None) -> list[Json]:
    """The labels of those containers that are of it."""
    found = [part(each, "Labels") for each in summaries]
    return [labels for labels in found if group is not None and labels.get(GROUP) == group]


def _pages(labels: Mapping[str, str]) -> tuple[str, Mapping[int, int]]:
    return labels.get(ADDRESS, ""), pages_of(labels)


def _name(summary: Json) -> str:
    return str(summary["Names"][0]).removeprefix("/")

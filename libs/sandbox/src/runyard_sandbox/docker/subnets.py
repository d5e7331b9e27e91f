"""Small subnets out of one pool, and who has which address in one."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import cast

from runyard_sandbox.docker.engine import Json, part

_PROXY_AT, _SANDBOX_AT = 2, 3
_SMALLEST_PREFIX, _LARGEST_PREFIX = 16, 29


@dataclass(frozen=True, slots=True)
class Slot:
    """A network for one sandbox, or one group of them. The first address is the engine's, which gives it to nobody."""

    network: str
    subnet: IPv4Network

    @property
    def proxy(self) -> str:
        """The proxy's address on it."""
        return str(self.subnet[_PROXY_AT])

    @property
    def sandbox(self) -> str:
        """The sandbox's, or that of the first of a group."""
        return str(self.subnet[_SANDBOX_AT])

    @property
    def sandboxes(self) -> list[str]:
        """Those of all that a group can have; the last address of a network is nobody's."""
        return [str(self.subnet[at]) for at in range(_SANDBOX_AT, min(self.subnet.num_addresses, 16) - 1)]


def slot_of(network: Json) -> Slot | None:
    """A sandbox's network as the engine describes it."""
    configs = cast("list[Json]", part(network, "IPAM").get("Config") or [])
    return Slot(str(network["Name"]), IPv4Network(str(configs[0]["Subnet"]))) if configs else None


class SubnetPool:
    """Subnets of one size. One that was given back comes again only when all others have come."""

    def __init__(self, pool: str, prefix: int) -> None:
        self._pool = IPv4Network(pool)
        if not self._pool.prefixlen <= prefix <= _LARGEST_PREFIX or prefix < _SMALLEST_PREFIX:
            raise ValueError(
                f"/{prefix} networks cannot be taken from {pool}: each needs at least a /{_LARGEST_PREFIX}"
            )
        self._prefix = prefix
        self._next = 0

    def __len__(self) -> int:
        return 2 ** (self._prefix - self._pool.prefixlen)

    def candidates(self, taken: Collection[IPv4Network]) -> Iterator[IPv4Network]:
        """Free ones, each offered once, beginning behind the last one offered."""
        for _ in range(len(self)):
            found = self._at(self._next)
            self._next = (self._next + 1) % len(self)
            if not any(found.overlaps(each) for each in taken):
                yield found

    def skip_to(self, subnet: IPv4Network) -> None:
        """Begin behind this one, which was in use before a restart."""
        if subnet.subnet_of(self._pool):
            offset = int(subnet.network_address) - int(self._pool.network_address)
            self._next = max(self._next, offset // 2 ** (32 - self._prefix) + 1) % len(self)

    def _at(self, index: int) -> IPv4Network:
        first = int(self._pool.network_address) + index * 2 ** (32 - self._prefix)
        return IPv4Network((first, self._prefix))

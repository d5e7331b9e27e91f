"""Ports of this host that lead to ports of sandboxes, so that the gateway finds a preview's page."""

import asyncio
from collections.abc import Collection, Iterator, Mapping

import structlog

from runyard_sandbox.docker.relay import Relay
from runyard_sandbox.docker.settings import NetworkSettings
from runyard_sandbox.provisioner import ProvisionFailed

_log = structlog.get_logger()


class Pages:
    """What this process listens on. Which port is whose stands on the containers; this follows them."""

    def __init__(self, relay: Relay, settings: NetworkSettings) -> None:
        self._relay = relay
        self._host = settings.page_host
        self._range = settings.page_ports
        self._open: dict[str, dict[int, asyncio.Server]] = {}
        self._followed: set[str] = set()

    async def give(self, name: str, address: str, inside: Collection[int], taken: Collection[int]) -> dict[int, int]:
        """Opens a port of this host for each port inside: the same number where it is free and in the range.

        Raises:
            ProvisionFailed: the whole range is taken.
        """
        self.close(name)
        given: dict[int, int] = {}
        for port in inside:
            here = await self._first_free(name, address, port, {*taken, *given.values()})
            if here is None:
                self.close(name)
                raise ProvisionFailed(f"no port between {self._range[0]} and {self._range[1]} is free")
            given[port] = here
        return given

    async def follow(self, wanted: Mapping[str, tuple[str, Mapping[int, int]]]) -> None:
        """Opens what running sandboxes have (name -> address and ports) and closes what those had that run no more.

        A sandbox that has just been given its ports is still being made, and runs for the first time in a moment.
        """
        for name in self._followed - wanted.keys():
            self.close(name)
        self._followed = set(wanted)
        for name, (address, pages) in wanted.items():
            for inside, here in pages.items():
                if here not in self._open.get(name, {}) and not await self._listen(name, here, address, inside):
                    _log.warning("sandbox.page_port_taken", sandbox=name, port=here)

    def close(self, name: str) -> None:
        """Closes those of one sandbox; connections under way end with it."""
        self._followed.discard(name)
        for server in self._open.pop(name, {}).values():
            server.close()

    def close_all(self) -> None:
        """Closes all of them."""
        for name in list(self._open):
            self.close(name)

    async def _first_free(self, name: str, address: str, inside: int, taken: Collection[int]) -> int | None:
        for port in self._candidates(inside):
            if port not in taken and await self._listen(name, port, address, inside):
                return port
        return None

    def _candidates(self, inside: int) -> Iterator[int]:
        low, high = self._range
        if low <= inside <= high:
            yield inside
        yield from range(low, high + 1)

    async def _listen(self, name: str, port: int, address: str, inside: int) -> bool:
        try:
            server = await self._relay.listen(self._host, port, address, inside)
        except OSError:
            return False
        self._open.setdefault(name, {})[port] = server
        return True

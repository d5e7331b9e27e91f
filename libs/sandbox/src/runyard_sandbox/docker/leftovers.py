"""What carries the installation's label and belongs to no sandbox: found by the engine alone, and removed."""

from dataclasses import dataclass
from typing import Literal

import structlog

from runyard_sandbox.docker.engine import Engine, Refused, part
from runyard_sandbox.docker.images import Images
from runyard_sandbox.docker.labels import INSTALLATION, KIND, PROXY, SANDBOX
from runyard_sandbox.docker.surroundings import Surroundings

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Leftover:
    """One thing that nobody wants."""

    kind: Literal["container", "network", "volume", "image"]
    name: str


class Leftovers:
    """Of one installation."""

    def __init__(
        self, engine: Engine, installation: str, surroundings: Surroundings | None, images: Images | None
    ) -> None:
        self._engine = engine
        self._label = f"{INSTALLATION}={installation}"
        self._surroundings = surroundings
        self._images = images

    async def find(self) -> list[Leftover]:
        """Containers first: they hold the networks and volumes."""
        containers = [
            str(each["Names"][0]).removeprefix("/")
            for each in await self._engine.containers([self._label])
            if part(each, "Labels").get(KIND) not in {SANDBOX, PROXY}
        ]
        networks: list[str] = []
        if self._surroundings is not None:
            containers = sorted({*containers, *await self._surroundings.strangers()})
            networks = await self._surroundings.stray_networks()
        return [
            *(Leftover("container", name) for name in containers),
            *(Leftover("network", name) for name in networks),
            *(Leftover("volume", name) for name in await self._engine.volumes([self._label])),
            *(Leftover("image", name) for name in (await self._images.strays() if self._images else ())),
        ]

    async def reap(self) -> list[Leftover]:
        """Removes what `find` finds; what is still in use stays for the next time."""
        return [each for each in await self.find() if await self._remove(each)]

    async def _remove(self, leftover: Leftover) -> bool:
        try:
            match leftover.kind:
                case "container":
                    await self._engine.remove_container(leftover.name)
                case "volume":
                    await self._engine.remove_volume(leftover.name)
                case "network" if self._surroundings is not None:
                    await self._surroundings.take_back("", leftover.name)
                case "image" if self._images is not None:
                    return await self._images.remove(leftover.name)
                case _:
                    return False
        except Refused as error:
            _log.info("sandbox.leftover_stays", kind=leftover.kind, name=leftover.name, reason=str(error))
            return False
        return True

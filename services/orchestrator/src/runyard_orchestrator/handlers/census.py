"""Whose the engine's containers are. What was nobody's at two looks, one after the other, is removed."""

from collections.abc import Callable, Sequence

import structlog

from runyard_orchestrator.adapters.containers import Containers, owner_of_container
from runyard_orchestrator.store.reading import SessionKey
from runyard_orchestrator.store.reading_sandboxes import SandboxRows
from runyard_sandbox import Sandbox as Container
from runyard_sandbox import SandboxFault

logger = structlog.get_logger(__name__)


class Census:
    """`written` is the latest epoch that this process wrote itself: the rows may be behind it."""

    def __init__(self, rows: SandboxRows, written: Callable[[SessionKey], int]) -> None:
        self._rows = rows
        self._written = written
        self._strangers: set[str] = set()

    async def take(self, containers: Containers, found: Sequence[Container]) -> dict[SessionKey, list[Container]]:
        """The containers of each session that there is.

        Raises:
            One of DATABASE_FAULTS: nothing is concluded then.
        """
        epochs = await self._rows.epochs({owner_of_container(one) for one in found})
        owned: dict[SessionKey, list[Container]] = {key: [] for key in epochs}
        strange: set[str] = set()
        for one in found:
            key = owner_of_container(one)
            if key in epochs and one.epoch <= max(epochs[key], self._written(key)):
                owned[key].append(one)
            else:
                strange.add(one.name)
        for name in strange & self._strangers:
            await _remove(containers, name)
        self._strangers = strange
        return owned


async def _remove(containers: Containers, name: str) -> None:
    logger.warning("sandbox.orphan_removed", name=name)
    try:
        await containers.delete(name)
    except SandboxFault as error:
        logger.warning("sandbox.orphan_kept", name=name, error=str(error))

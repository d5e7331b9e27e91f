"""Takes all of an installation off an engine that it makes no containers on any more."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from runyard_sandbox.docker.engine import Engine, Refused
from runyard_sandbox.docker.labels import INSTALLATION

_log = structlog.get_logger()


async def clear_engine(installation: str, base_url: str | None = None, *, keep_images: bool = False) -> int:
    """Removes every container, network, volume and image with the installation's label; how many that were.

    Nothing is stopped gently: nobody looks after these containers, and their agents lead nowhere. One kind after the
    other, for containers hold the rest; of a kind as many at once as the engine is asked at once.

    Raises:
        EngineAway: the engine does not answer.
    """
    engine, label, removed = Engine(base_url), [f"{INSTALLATION}={installation}"], 0
    try:
        kinds = (
            ([str(each["Id"]) for each in await engine.containers(label)], engine.remove_container),
            ([str(each["Id"]) for each in await engine.networks(label)], engine.remove_network),
            (await engine.volumes(label), engine.remove_volume),
            ([] if keep_images else [str(each["Id"]) for each in await engine.images(label)], engine.remove_image),
        )
        for names, remove in kinds:
            removed += sum(await asyncio.gather(*(_removed(name, remove) for name in names)))
    finally:
        await engine.close()
    return removed


async def _removed(name: str, remove: Callable[[str], Awaitable[None]]) -> bool:
    try:
        await remove(name)
    except Refused as error:
        if not error.is_missing:
            _log.warning("sandbox.leftover_stays", name=name, reason=str(error))
        return False
    return True

"""Takes all of an installation off an engine that it makes no containers on any more."""

import structlog

from runyard_sandbox.docker.engine import Engine, Refused
from runyard_sandbox.docker.labels import INSTALLATION

_log = structlog.get_logger()


async def clear_engine(installation: str, base_url: str | None = None) -> int:
    """Removes every container, network, volume and image with the installation's label; how many that were.

    Nothing is stopped gently: nobody looks after these containers, and their agents lead nowhere.

    Raises:
        EngineAway: the engine does not answer.
    """
    engine, label, removed = Engine(base_url), [f"{INSTALLATION}={installation}"], 0
    try:
        kinds = (
            ([str(each["Id"]) for each in await engine.containers(label)], engine.remove_container),
            ([str(each["Id"]) for each in await engine.networks(label)], engine.remove_network),
            (await engine.volumes(label), engine.remove_volume),
            ([str(each["Id"]) for each in await engine.images(label)], engine.remove_image),
        )
        for names, remove in kinds:
            for name in names:
                try:
                    await remove(name)
                    removed += 1
                except Refused as error:
                    if not error.is_missing:
                        _log.warning("sandbox.leftover_stays", name=name, reason=str(error))
    finally:
        await engine.close()
    return removed

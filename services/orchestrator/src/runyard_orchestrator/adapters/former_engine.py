"""The engine that containers were on before this installation was set to have none, or to have them elsewhere."""

import structlog

from runyard_orchestrator.settings import Settings
from runyard_orchestrator.store.reading_sandboxes import SandboxRows
from runyard_sandbox import EngineAway
from runyard_sandbox.docker import clear_engine

logger = structlog.get_logger(__name__)


async def leave_former_engine(settings: Settings, rows: SandboxRows) -> None:
    """Removes what is still there of this installation: nobody would ever look after it again.

    Only where the log knows of containers on a Docker engine, and none are made there now.
    """
    if settings.sandbox == "docker" or not await rows.has_had("docker"):
        return
    try:
        removed = await clear_engine(settings.sandbox_installation, settings.docker_host)
    except EngineAway as error:
        logger.warning(
            "sandboxes.former_engine_away",
            error=str(error),
            remedy=f"docker ps --filter label=runyard.installation={settings.sandbox_installation}",
        )
        return
    if removed:
        logger.info("sandboxes.former_engine_cleared", removed=removed)

"""What is left to do on the engine when a stack is taken down: nothing of it runs there afterwards.

The orchestrator brings sandboxes to rest as it ends and says so in the log (its setting `sandbox_rest_file`). Here is
what holds even when it was dead or too slow: the file that the next start speaks from, and the removal by label.
"""

import asyncio
from collections.abc import Mapping

from runyard_stack.layout import Layout

REMOVE_SECONDS = 20.0


def mark_as_taken_down(layout: Layout) -> None:
    """Says to the orchestrator, to the one that ends or to the next one, that all of the stack goes down.

    Raises:
        OSError: it cannot be written.
    """
    layout.taken_down.parent.mkdir(exist_ok=True, mode=0o700)
    layout.taken_down.touch()


async def leave_no_sandboxes(installation: str, environment: Mapping[str, str]) -> tuple[int, str]:
    """Removes all that the installation has on the Docker engine but for images; how much, and what went wrong.

    Files and threads are in the data folder, so nothing is lost with a container.
    """
    from runyard_sandbox import SandboxFault  # noqa: PLC0415 - the Docker SDK is slow to import
    from runyard_sandbox.docker import clear_engine  # noqa: PLC0415

    try:
        async with asyncio.timeout(REMOVE_SECONDS):
            return await clear_engine(installation, environment.get("DOCKER_HOST"), keep_images=True), ""
    except (SandboxFault, TimeoutError) as error:
        remedy = f"docker ps --filter label=runyard.installation={installation}"
        return 0, f"Containers of sessions may still run ({error or 'no time left'}); see: {remedy}"

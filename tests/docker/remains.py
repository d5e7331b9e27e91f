"""What is left of sessions, on the engine and on the disk."""

import asyncio
import json
import os
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.docker.conftest import docker

if TYPE_CHECKING:
    from tests.conftest import Api, Stack
    from tests.docker.conftest import Engine

SPARE_NETWORKS = 2
"""Made ready for the next sandboxes, with nobody on them but the proxy."""


def files_of(stack: "Stack", session: str) -> list[Path]:
    """What is on the disk for a session, but for what stays.

    That is the history of its files, with the workspace, and with a runner the thread of an agent without a container.
    """
    homes = [stack.home / "agents" / f"runner-{runner}" for runner in ("codex", "claude", "acp")]
    # Not by glob: what is being deleted meanwhile is an error to it.
    every = (Path(folder, session) for folder, *names in os.walk(stack.home) if session in chain(*names))
    found = [path for path in every if "refs" not in path.parts]
    return [path for path in found if path.parent not in homes]


async def assert_nothing_is_left(stack: "Stack", api: "Api", engine: "Engine", *sessions: str) -> None:
    """Deletes the sessions, the last ones of their stack: the engine and the disk are then as without any."""
    volumes = await asyncio.to_thread(_volumes, engine)
    for session in sessions:
        await api.call("DELETE", f"/api/sessions/{session}")

    def remains() -> dict[str, Any]:
        found = engine.everything()
        networks = {name: _on(name) for name in found["networks"] if not name.endswith("-uplink")}
        is_exact = len(networks) == SPARE_NETWORKS and all(found["containers"] == who for who in networks.values())
        return {
            "containers": engine.containers(),
            "networks": {} if is_exact else networks,
            "volumes": [*found["volumes"], *(volumes & set(docker("volume", "ls", "--quiet").split()))],
            "files": [str(path) for one in sessions for path in files_of(stack, one)],
        }

    left = await asyncio.to_thread(remains)
    try:
        async with asyncio.timeout(60):
            while any(left.values()):
                await asyncio.sleep(0.2)
                left = await asyncio.to_thread(remains)
    except TimeoutError:
        raise AssertionError(left) from None


def _on(network: str) -> list[str]:
    """Who is on a network."""
    form = "{{range .Containers}}{{.Name}} {{end}}"
    return sorted(docker("network", "inspect", network, "--format", form, check=False).split())


def _volumes(engine: "Engine") -> set[str]:
    """Those of the stack's containers, without a name and so without its label too."""
    found: set[str] = set()
    for name in engine.everything()["containers"]:
        mounts = json.loads(docker("inspect", name, "--format", "{{json .Mounts}}", check=False) or "[]")
        found |= {one["Name"] for one in mounts if one["Type"] == "volume"}
    return found

"""Whether sessions get containers, in words for a person, and whether the engine for that is there."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

AGENTS = ("codex", "claude")
DEFAULT_IMAGE = "runyard/runner-{runner}:latest"
DEFAULT_SOCKET = "/var/run/docker.sock"
WORDS = {
    "docker": "each session in a Docker container of its own",
    "dokploy": "each session as an application of Dokploy",
    "kubernetes": "each session as a sandbox of the Kubernetes cluster",
}
ASK_SECONDS = 5.0


def method(environment: Mapping[str, str]) -> str:
    """What SANDBOX says; `off` unless it is set."""
    return environment.get("SANDBOX") or "off"


def sandboxes_in_words(environment: Mapping[str, str]) -> str:
    """Where agents work."""
    chosen = method(environment)
    return (
        WORDS.get(chosen) or "off: agents are processes of this machine. SANDBOX=docker gives each session a container."
    )


async def what_is_missing(environment: Mapping[str, str]) -> tuple[str, str]:
    """What SANDBOX=docker needs and this machine does not have, and what to do about it; two empty texts if nothing."""
    try:
        version = await ask_engine(environment, "/version")
    except (OSError, ValueError, TimeoutError) as error:
        return f"no Docker engine answers ({error or type(error).__name__})", "Start one: tools/docker_engine.sh"
    if version != 200:  # noqa: PLR2004
        return f"the Docker engine answers {version}", "See its log."
    image = environment.get("SANDBOX_IMAGE") or DEFAULT_IMAGE
    wanted = [image.replace("{runner}", agent) for agent in AGENTS]
    missing = [one for one in wanted if await ask_engine(environment, f"/images/{one}/json") != 200]  # noqa: PLR2004
    if missing:
        return f"no image {', '.join(missing)}", "Build it: make images"
    return "", ""


async def ask_engine(environment: Mapping[str, str], path: str) -> int:
    """The status that the engine answers `GET path` with.

    Raises:
        OSError: it does not answer.
        ValueError: it is somewhere that this does not speak to.
    """
    async with asyncio.timeout(ASK_SECONDS):
        reader, writer = await _open(environment.get("DOCKER_HOST") or f"unix://{DEFAULT_SOCKET}")
        try:
            writer.write(f"GET {path} HTTP/1.0\r\nHost: docker\r\n\r\n".encode())
            line = await reader.readline()
        finally:
            writer.close()
    return int(line.split(b" ", 2)[1])


async def _open(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    parts = urlsplit(address)
    if parts.scheme == "unix":
        return await asyncio.open_unix_connection(Path(parts.path))
    if parts.scheme == "tcp" and parts.hostname:
        return await asyncio.open_connection(parts.hostname, parts.port or 2375)
    raise ValueError(f"{address} is not looked at from here")

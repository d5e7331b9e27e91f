"""A real engine for tests: an image with our proxy, a provisioner on a network, and a look at what is left."""

import asyncio
import io
import json
import os
import subprocess
import tarfile
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import docker

import runyard_sandbox
from runyard_sandbox import Spec
from runyard_sandbox.docker import DockerProvisioner, DockerSettings, Forward, NetworkSettings

IMAGE = "runyard-test-sandbox:latest"
_BASE = "runyard/base:local"
_ROOT = Path(__file__).parents[3]
_DOCKERFILE = """ARG BASE
FROM ${BASE}
COPY src /opt/runyard
ENV PYTHONPATH=/opt/runyard
LABEL runyard.test=sandbox
"""


def client() -> Any:
    """The SDK, untyped as it is."""
    make: Any = docker.from_env
    return make()


def build_image() -> str:
    """A small Debian with this library in it."""
    engine = client()
    names = {tag for image in engine.images.list() for tag in image.tags}
    if _BASE not in names:
        subprocess.run([_ROOT / "tools" / "base_image.sh", _BASE], check=True, timeout=110)
    sources = Path(runyard_sandbox.__file__).parent
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.add(sources, "src/runyard_sandbox", filter=lambda each: None if "__pycache__" in each.name else each)
        text = _DOCKERFILE.encode()
        entry = tarfile.TarInfo("Dockerfile")
        entry.size = len(text)
        archive.addfile(entry, io.BytesIO(text))
    packed.seek(0)
    engine.images.build(
        fileobj=packed, custom_context=True, tag=IMAGE, buildargs={"BASE": _BASE}, rm=True, forcerm=True
    )
    # The former one has lost its name.
    engine.images.prune(filters={"dangling": True, "label": "runyard.test=sandbox"})
    engine.close()
    return IMAGE


@dataclass
class World:
    """One installation of its own, with a service of ours on loopback and an orchestrator that decides."""

    provisioner: DockerProvisioner
    settings: DockerSettings
    allowed: set[str] = field(default_factory=set[str])
    asked: list[tuple[str, str, int]] = field(default_factory=list[tuple[str, str, int]])

    @property
    def proxy(self) -> str:
        """The name of its proxy's container."""
        return f"runyard-{self.settings.installation}-proxy"

    async def run(self, name: str, script: str = "sleep 600", **changes: Any) -> Spec:
        """A sandbox that runs a shell script."""
        given: dict[str, Any] = {
            "name": f"{self.settings.installation}-{name}",
            "purpose": "agent",
            "tenant_id": "tenant",
            "owner_id": f"session-{name}",
            "epoch": 1,
            "image": None,
            "command": ("sh", "-c", script),
        }
        spec = Spec(**given | changes)
        await self.provisioner.provision(spec)
        return spec

    async def inside(self, spec: Spec, script: str, *, stdin: bytes | None = None) -> tuple[int, str]:
        """A shell script inside; its exit code and what it printed."""
        result = await self.provisioner.exec(spec.name, ("sh", "-c", script), stdin=stdin, timeout_seconds=60)
        return result.exit_code, result.output.decode()

    async def connects(self, spec: Spec, host: str, port: int) -> bool:
        """Whether a program inside can open a connection."""
        code = (
            "import socket, sys; "
            "sys.exit(0 if not socket.socket().settimeout(2) and socket.create_connection(('%s', %d), 2) else 1)"
        )
        result = await self.provisioner.exec(spec.name, ("python3", "-c", code % (host, port)), timeout_seconds=30)
        return result.exit_code == 0


@asynccontextmanager
async def world(installation: str, folder: Path, **network: Any) -> AsyncGenerator[World]:
    """Everything is removed at the end; use `left` to see that it is."""
    asked: list[tuple[str, str, int]] = []
    allowed: set[str] = set()

    async def decide(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        query = parse_qs(urlsplit(head.split(" ")[1]).query)
        asked.append((query["peer"][0], query["host"][0], int(query["port"][0])))
        body = json.dumps({"allowed": query["host"][0] in allowed, "seconds": 0}).encode()
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        writer.close()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"INFO our service\r\n")
        writer.close()

    decisions = await asyncio.start_server(decide, "127.0.0.1", 0)
    service = await asyncio.start_server(answer, "127.0.0.1", 0)
    given: dict[str, Any] = {
        "forwards": (Forward(4222, "127.0.0.1", _port(service)),),
        "decisions": Forward(8087, "127.0.0.1", _port(decisions)),
        "relay_folder": folder / "relay",
        "subnets": "10.214.0.0/20",
        "spare": 1,
    }
    settings = DockerSettings(
        installation=installation,
        images={"agent": IMAGE, "preview": IMAGE},
        proxy_command=("python3", "-m", "runyard_sandbox.proxy"),
        network=NetworkSettings(**given | network),
        disk_seconds=0.5,
    )
    provisioner = DockerProvisioner(settings)
    try:
        yield World(provisioner, settings, allowed, asked)
    finally:
        for each in await provisioner.list():
            await provisioner.delete(each.name)
        await provisioner.close()
        decisions.close()
        service.close()


def left(installation: str) -> Sequence[str]:
    """What an installation has on the engine."""
    engine = client()
    filters = {"label": f"runyard.installation={installation}"}
    found = [each.name for each in engine.containers.list(all=True, filters=filters)]
    found += [each.name for each in engine.networks.list(filters=filters)]
    found += [each.name for each in engine.volumes.list(filters=filters)]
    engine.close()
    return found


def unique(word: str) -> str:
    """An installation's name that no other test has at the same time."""
    return f"t{os.getpid()}{word}"


def _port(server: asyncio.Server) -> int:
    return int(server.sockets[0].getsockname()[1])

"""The same on a real engine: what its containers come to is seen, told, and made good."""

import asyncio
import io
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from runyard_events.catalogue import SandboxError
from runyard_events.commands import DeleteSession
from runyard_sandbox.docker import DockerProvisioner, DockerSettings

from .conftest import World, serving
from .yards import Yard, until

pytestmark = pytest.mark.docker

BASE = "runyard/base:local"
IMAGE = "runyard-test-orchestrator:latest"
ROOT = Path(__file__).parents[3]
INSTALLATION = f"orchestrator-test-{os.getpid()}"
DOCKERFILE = f"""FROM {BASE}
LABEL runyard.test=orchestrator
CMD ["sh", "-c", "echo I am up; trap 'exit 0' TERM; while :; do sleep 0.1; done"]
"""


@pytest.fixture(scope="module")
def engine() -> Iterator[Any]:
    make: Any = docker.from_env
    client = make()
    if not client.images.list(name=BASE):
        subprocess.run([ROOT / "tools" / "base_image.sh", BASE], check=True, timeout=110)
    client.images.build(fileobj=io.BytesIO(DOCKERFILE.encode()), tag=IMAGE, rm=True, forcerm=True)
    yield client
    for container in of_installation(client):
        container.remove(force=True)
    client.images.remove(IMAGE, force=True)
    client.close()


def of_installation(client: Any) -> list[Any]:
    filters = {"label": f"runyard.installation={INSTALLATION}"}
    return client.containers.list(all=True, ignore_removed=True, filters=filters)


@pytest.fixture
async def provisioner(engine: Any) -> AsyncIterator[DockerProvisioner]:
    one = DockerProvisioner(DockerSettings(installation=INSTALLATION, images={"agent": IMAGE, "preview": IMAGE}))
    yield one
    for sandbox in await one.list():
        await one.delete(sandbox.name)
    await one.close()


@pytest.fixture
def world_here(surroundings: World, tmp_path: Path) -> World:
    """The files of sessions are folders that a container's own user may enter."""
    tmp_path.chmod(0o755)
    for folder in tmp_path.parents:
        if folder.stat().st_uid == os.getuid() and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o011)
    surroundings.workspace.root = str(tmp_path / "trees")
    return surroundings


class Real:
    """One service on the real engine."""

    def __init__(self, world: World, provisioner: DockerProvisioner, engine: Any, folder: Path) -> None:
        hasty = {
            "sandbox": "docker",
            "sandbox_image": IMAGE,
            "sandbox_memory_mb": 128,
            "reconcile_seconds": 0.5,
            "sandbox_backoff_seconds": 0.1,
            "agents_root": folder / "agents",
        }
        self.settings = world.settings.model_copy(update=hasty)
        self.world, self.provisioner, self.engine = world, provisioner, engine

    def serving(self) -> Any:
        return serving(self.settings, Lent(self.provisioner))  # type: ignore[arg-type]

    async def session(self) -> str:
        session_id = await self.world.session()
        await asyncio.to_thread(Path(self.world.workspace.root, session_id).mkdir, parents=True)
        return session_id

    def container(self, session_id: str, epoch: int = 1) -> Any:
        return self.engine.containers.get(f"runyard-{session_id[:8]}-{epoch}")

    async def errors(self, session_id: str, count: int = 1) -> SandboxError:
        return (await self.world.seen(session_id, "sandbox.error", count=count)).event.payload


class Lent:
    """A provisioner that outlives the service."""

    def __init__(self, inner: DockerProvisioner) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def close(self) -> None:
        """The test closes it."""


@pytest.fixture
def real(world_here: World, provisioner: DockerProvisioner, engine: Any, tmp_path: Path) -> Real:
    return Real(world_here, provisioner, engine, tmp_path)


async def test_whatever_a_container_comes_to_is_told_and_a_run_gets_another(real: Real) -> None:
    async with real.serving():
        session_id = await real.session()
        await real.world.prompt(session_id)
        await real.world.seen(session_id, "sandbox.running")
        await real.world.seen(session_id, "sandbox.logged")
        await real.world.seen(session_id, "sandbox.stats")

        await asyncio.to_thread(real.container(session_id).kill)
        killed = await real.errors(session_id)
        assert (killed.reason, killed.exit_code, killed.log_tail) == ("exited", 137, ("I am up",))

        await real.world.seen(session_id, "sandbox.running", count=2)
        await asyncio.to_thread(real.container(session_id, 2).remove, force=True)
        # Who looks while it is being removed sees it end, who looks later sees nothing.
        assert (await real.errors(session_id, 2)).reason in {"exited", "vanished"}

        await real.world.seen(session_id, "sandbox.running", count=3)
        container = real.container(session_id, 3)
        eater = "x = []\nwhile True: x.append(bytearray(2**24))"
        found = await asyncio.to_thread(container.exec_run, ["python3", "-c", eater])
        assert found.exit_code == 137
        assert container.status == "running"
    assert len(of_installation(real.engine)) == 1


async def test_where_containers_are_switched_off_none_of_them_stays(real: Real) -> None:
    yard = Yard(real.world, None, None, real.settings, None)  # type: ignore[arg-type]
    async with real.serving():
        resting, working = await real.session(), await real.session()
        assert (await yard.control(resting, "create")).ok
        assert (await yard.control(resting, "stop")).ok
        await real.world.prompt(working)
        await real.world.seen(working, "sandbox.running")
        await until(lambda: real.container(resting).status == "exited")
    off = real.settings.model_copy(update={"sandbox": "off", "sandbox_installation": INSTALLATION})
    async with serving(off):
        assert of_installation(real.engine) == []
        assert (await real.world.seen(working, "sandbox.stopped")).event.payload.reason == "switched_off"
        released = len(real.world.workspace.released)
        run_id = await real.world.prompt(resting)
        await real.world.seen(resting, "run.dispatched", run_id=run_id)
        await until(lambda: len(real.world.workspace.released) > released)


async def test_at_rest_started_again_and_gone(real: Real) -> None:
    yard = Yard(real.world, None, None, real.settings, None)  # type: ignore[arg-type]
    async with real.serving():
        session_id = await real.session()
        assert (await yard.control(session_id, "create")).result["status"] == "running"
        first = real.container(session_id)
        assert (await yard.control(session_id, "pause")).ok
        await until(lambda: real.container(session_id).status == "paused")
        assert (await yard.control(session_id, "start")).result["status"] == "running"
        assert real.container(session_id).status == "running"
        assert (await yard.control(session_id, "stop")).ok
        await until(lambda: real.container(session_id).status == "exited")
    async with real.serving():
        assert (await yard.control(session_id, "start")).result["status"] == "running"
        again = real.container(session_id)
        assert again.id == first.id
        assert again.attrs["HostConfig"]["Memory"] == 128 * 1024 * 1024
        assert "secret" not in str(again.attrs["Config"]["Env"]).lower()
        await real.world.ask(DeleteSession(session_id=session_id))
        await real.world.seen(session_id, "sandbox.deleted")
    assert not of_installation(real.engine)


async def test_what_no_session_knows_is_removed(real: Real) -> None:
    yard = Yard(real.world, None, None, real.settings, None)  # type: ignore[arg-type]
    async with real.serving():
        session_id = await real.session()
        await yard.control(session_id, "create")
        labels = {**real.container(session_id).labels, "runyard.owner": "nobody"}
        name = f"{INSTALLATION}-stray"
        await asyncio.to_thread(
            real.engine.containers.run, IMAGE, detach=True, name=name, labels=labels, network_mode="none"
        )
        await until(lambda: [one.name for one in of_installation(real.engine)] == [f"runyard-{session_id[:8]}-1"])

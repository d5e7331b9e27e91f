"""What the Docker provisioner asks of an engine, and what becomes of an engine that hangs; without one."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from runyard_sandbox import EngineAway, ProvisionFailed, SandboxFault, Spec
from runyard_sandbox.docker import DockerProvisioner, DockerSettings

from .fake_docker import FakeDocker


@pytest.fixture
def engine() -> FakeDocker:
    return FakeDocker()


@pytest.fixture
async def provisioner(engine: FakeDocker, tmp_path: Path) -> AsyncIterator[DockerProvisioner]:
    async with engine.serving(tmp_path) as address:
        settings = DockerSettings(
            installation="x", images={"agent": "i"}, base_url=address, call_seconds=5, start_seconds=0.3
        )
        one = DockerProvisioner(settings)
        yield one
        await one.close()


def spec(number: int = 1) -> Spec:
    return Spec(
        name=f"n-{number}", purpose="agent", tenant_id="t", owner_id="o", epoch=number, image=None, command=("true",)
    )


async def test_a_container_that_the_engine_does_not_get_made_has_failed_and_is_never_started(
    engine: FakeDocker, provisioner: DockerProvisioner
) -> None:
    engine.hangs.append("create")
    with pytest.raises(ProvisionFailed, match=r"has not made the container within 0\.3 s"):
        await provisioner.provision(spec(1))
    second = await provisioner.provision(spec(2))
    await engine.settled()
    assert engine.started == ["n-2"]
    assert {one.name: one.status for one in await provisioner.list()} == {"n-1": "creating", "n-2": "running"}
    assert second.status == "running"


async def test_one_that_does_not_get_started_is_removed_and_starts_no_more(
    engine: FakeDocker, provisioner: DockerProvisioner
) -> None:
    engine.hangs.append("start")
    with pytest.raises(ProvisionFailed, match=r"has not started the container within 0\.3 s"):
        await provisioner.provision(spec(1))
    await provisioner.provision(spec(2))
    await engine.settled()
    assert engine.started == list(engine.made) == ["n-2"]


async def test_one_at_rest_that_does_not_get_started_again_is_removed(
    engine: FakeDocker, provisioner: DockerProvisioner
) -> None:
    await provisioner.provision(spec())
    engine.end("n-1", 0)
    engine.hangs.append("start")
    with pytest.raises(SandboxFault, match="has not started") as failed:
        await provisioner.start("n-1")
    assert not isinstance(failed.value, EngineAway)
    assert engine.made == {}


async def test_what_has_ended_is_looked_at_once_and_not_at_every_list(
    engine: FakeDocker, provisioner: DockerProvisioner
) -> None:
    for number in range(1, 6):
        await provisioner.provision(spec(number))
    for number in range(1, 5):
        engine.end(f"n-{number}", number)
    before = await provisioner.list()
    looks = engine.asked["inspect"]
    assert [one.exit_code for one in before] == [1, 2, 3, 4, None]
    assert await provisioner.list() == before
    assert engine.asked["inspect"] == looks

    await provisioner.start("n-1")
    engine.end("n-1", 1)
    await provisioner.list()
    engine.end("n-2", 9)
    assert [one.exit_code for one in await provisioner.list()] == [1, 9, 3, 4, None]
    again = engine.asked["inspect"]
    await provisioner.delete("n-3")
    assert [one.name for one in await provisioner.list()] == ["n-1", "n-2", "n-4", "n-5"]
    assert engine.asked["inspect"] == again + 1  # of the one that was deleted

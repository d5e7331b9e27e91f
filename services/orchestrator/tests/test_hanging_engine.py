"""An engine that hangs with one container: another one takes its place, and never are two at work."""

from dataclasses import replace
from pathlib import Path

import pytest
from libs.sandbox.tests.fake_docker import FakeDocker

from runyard_sandbox import Spec
from runyard_sandbox.docker import DockerProvisioner, DockerSettings

from .conftest import serving
from .yards import Yard, until, yard

__all__ = ["yard"]


@pytest.mark.parametrize("hanging", ["create", "start"])
async def test_a_container_that_the_engine_hangs_with_is_replaced_by_one(
    yard: Yard, tmp_path: Path, hanging: str
) -> None:
    async def main(name: str, env: dict[str, str]) -> None:
        await yard.runner.main(replace(pattern, name=name, env=env))

    pattern = Spec(name="", purpose="agent", tenant_id="", owner_id="", epoch=0, image=None)
    docker = FakeDocker(main, hangs=[hanging])
    async with docker.serving(tmp_path) as address:
        settings = DockerSettings(
            installation="x", images={"agent": "i"}, base_url=address, call_seconds=5, start_seconds=0.5
        )
        async with serving(yard.settings, DockerProvisioner(settings)):
            session_id = await yard.world.session()
            run_id = await yard.world.prompt(session_id)
            await yard.ended(session_id, run_id)
            await docker.settled()
            await until(lambda: list(docker.made) == [yard.name(session_id, 2)])

    failed = (await yard.world.seen(session_id, "sandbox.error")).event.payload
    assert failed.reason == "create_failed"
    assert "container within 0.5 s" in failed.message
    assert docker.started == [yard.name(session_id, 2)]
    assert await yard.statuses(session_id) == [
        *("requested", "creating", "error"),
        *("requested", "creating", "running"),
    ]
    # Its command may come twice, where the first waited long for a container: the run begins once.
    types = await yard.world.types(session_id, run_id)
    assert [one for one in types if one in ("run.started", "run.resumed")] == ["run.started"]

"""Containers of a real engine, from their making to their end."""

import asyncio
import os
import urllib.error
import urllib.request
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from runyard_sandbox import EngineAway, Mount, NotThere, ProvisionFailed, Spec
from runyard_sandbox.docker import DockerProvisioner, DockerSettings, Forward
from runyard_sandbox.proxy.config import Target
from runyard_sandbox.proxy.piping import End, connect

from .real_engine import World, client, left, unique, world

pytestmark = [pytest.mark.docker, pytest.mark.asyncio(loop_scope="module")]


async def test_the_same_spec_again_is_the_same_container(here: World) -> None:
    spec = await here.run("same")
    first, second = await asyncio.gather(here.provisioner.provision(spec), here.provisioner.provision(spec))
    assert first == second
    assert first.status == "running"
    assert (first.tenant_id, first.owner_id, first.epoch) == ("tenant", "session-same", 1)
    await here.provisioner.delete(spec.name)


async def test_its_last_moment_is_written_on_it(here: World) -> None:
    last = datetime(2031, 5, 4, 3, 2, 1, tzinfo=UTC)
    spec = await here.run("expires", expires_at=last)
    found = await here.provisioner.find(spec.name)
    listed = [each.expires_at for each in await here.provisioner.list() if each.name == spec.name]
    labels = client().containers.get(spec.name).labels
    assert found is not None
    assert ([found.expires_at], listed) == ([last], [last])
    assert labels["runyard.expires"] == "2031-05-04T03:02:01+00:00"
    await here.provisioner.delete(spec.name)


async def test_made_at_the_same_time_twice_it_is_one(here: World) -> None:
    spec = Spec(
        name=f"{here.settings.installation}-race",
        purpose="agent",
        tenant_id="t",
        owner_id="o",
        epoch=1,
        image=None,
        command=("sleep", "600"),
    )
    made = await asyncio.gather(*(here.provisioner.provision(spec) for _ in range(3)))
    assert len({each.native_id for each in made}) == 1
    assert await here.provisioner.reap() == []
    await here.provisioner.delete(spec.name)


async def test_a_name_that_is_taken_is_refused(here: World) -> None:
    spec = await here.run("taken")
    with pytest.raises(ProvisionFailed) as failed:
        await here.provisioner.provision(replace(spec, epoch=2))
    assert failed.value.reason == "create_failed"
    await here.provisioner.delete(spec.name)


async def test_a_missing_image_says_so_and_leaves_nothing(here: World) -> None:
    with pytest.raises(ProvisionFailed) as failed:
        await here.run("image", image="runyard-no-such-image:1")
    assert failed.value.reason == "image_missing"
    assert await here.provisioner.reap() == []


@pytest.mark.parametrize("what", ["mount", "runtime"])
async def test_what_cannot_be_made_or_started_leaves_nothing(here: World, tmp_path: Path, what: str) -> None:
    changes: dict[str, Any] = {
        "mount": {"mounts": (Mount(tmp_path / "missing", "/work"),)},
        "runtime": {"runtime": "no-such-runtime"},
    }[what]
    with pytest.raises(ProvisionFailed) as failed:
        await here.run(f"bad-{what}", **changes)
    assert failed.value.reason == "create_failed"
    assert await here.provisioner.find(f"{here.settings.installation}-bad-{what}") is None
    assert await here.provisioner.reap() == []


async def test_a_command_that_is_not_there_ends_at_once(here: World) -> None:
    spec = await here.run("command", command=("/no/such/program",))
    async with asyncio.timeout(20):
        async for _ in here.provisioner.logs(spec.name, follow=True):
            pass
    found = await here.provisioner.find(spec.name)
    assert found is not None
    assert (found.status, found.exit_code) == ("stopped", 127)
    await here.provisioner.delete(spec.name)


async def test_it_is_paused_and_goes_on_as_often_as_wanted(here: World) -> None:
    spec = await here.run("pause")
    for _ in range(3):
        await here.provisioner.pause(spec.name)
        await here.provisioner.pause(spec.name)
        assert (await _status(here, spec)) == "paused"
        await here.provisioner.resume(spec.name)
        await here.provisioner.resume(spec.name)
        assert (await _status(here, spec)) == "running"
    await here.provisioner.pause(spec.name)
    await here.provisioner.stop(spec.name, grace_seconds=1)
    assert (await _status(here, spec)) == "stopped"
    await here.provisioner.delete(spec.name)


async def test_a_stopped_one_starts_again_with_its_network(here: World) -> None:
    spec = await here.run("again", "echo line; exec sleep 600")
    address = (await here.inside(spec, "hostname -i"))[1]
    await here.provisioner.stop(spec.name, grace_seconds=1)
    await here.provisioner.stop(spec.name)
    assert await here.provisioner.reap() == []
    assert (await here.provisioner.start(spec.name)).status == "running"
    assert (await here.inside(spec, "hostname -i"))[1] == address
    assert await here.connects(spec, "runyard", 4222)
    assert [line.text async for line in here.provisioner.logs(spec.name)] == ["line", "line"]
    await here.provisioner.delete(spec.name)


async def test_what_is_gone_stays_gone(here: World) -> None:
    name = f"{here.settings.installation}-gone"
    await here.provisioner.delete(name)
    await here.provisioner.stop(name)
    assert await here.provisioner.find(name) is None
    for call in (
        here.provisioner.start(name),
        here.provisioner.pause(name),
        here.provisioner.resume(name),
        here.provisioner.exec(name, ["true"]),
        anext(aiter(here.provisioner.stats(name))),
        anext(aiter(here.provisioner.logs(name))),
    ):
        with pytest.raises(NotThere):
            await call


async def test_a_strangers_container_of_the_same_name_is_not_ours(here: World) -> None:
    name = f"{here.settings.installation}-stranger"
    stranger = client().containers.run(
        here.settings.images["agent"], ["sleep", "600"], name=name, labels={"runyard.test": "sandbox"}, detach=True
    )
    try:
        assert await here.provisioner.find(name) is None
        await here.provisioner.delete(name)
        await here.provisioner.stop(name, grace_seconds=0)
        with pytest.raises(ProvisionFailed):
            await here.run("stranger")
        stranger.reload()
        assert stranger.status == "running"
    finally:
        stranger.remove(force=True)


async def test_input_goes_in_by_the_connection_and_a_late_command_is_given_up(here: World) -> None:
    spec = await here.run("exec")
    result = await here.provisioner.exec(spec.name, ("sh", "-c", "cat; echo err >&2; exit 5"), stdin=b"x" * 300_000)
    assert (result.exit_code, len(result.output)) == (5, 300_004)
    with pytest.raises(TimeoutError):
        await here.provisioner.exec(spec.name, ("sleep", "30"), timeout_seconds=0.5)
    await here.provisioner.delete(spec.name)


async def test_a_page_is_reached_on_a_port_of_ours_and_so_after_a_restart(here: World) -> None:
    spec = await here.run("page", "cd /opt && exec python3 -m http.server 6123", purpose="preview", ports=(6123,))
    found = await here.provisioner.find(spec.name)
    assert found is not None
    address = found.addresses[6123]
    assert 5000 <= int(address.rpartition(":")[2]) <= 8999
    assert b"runyard" in await _page(address)
    again = DockerProvisioner(here.settings)
    await here.provisioner.stop(spec.name, grace_seconds=0)
    await here.provisioner.list()
    with pytest.raises(OSError, match=r".*"):
        await _page(address, tries=1)
    # Another process takes over: the port is its own now.
    await again.start(spec.name)
    assert [each.addresses for each in await again.list() if each.name == spec.name] == [found.addresses]
    assert b"runyard" in await _page(address)
    await again.delete(spec.name)
    await again.close()
    await here.provisioner.list()


async def test_a_killed_proxy_comes_back_and_a_removed_one_is_made_again(here: World) -> None:
    spec = await here.run("proxy")
    assert await here.connects(spec, "runyard", 4222)
    engine = client()
    engine.containers.get(here.proxy).remove(force=True)
    assert not await here.connects(spec, "runyard", 4222)
    await here.provisioner.list()
    assert await here.connects(spec, "runyard", 4222)
    await here.provisioner.delete(spec.name)


async def test_what_belongs_to_no_sandbox_is_reaped(here: World) -> None:
    spec = await here.run("reap")
    engine, labels = client(), {"runyard.installation": here.settings.installation}
    network = next(iter(engine.containers.get(spec.name).attrs["NetworkSettings"]["Networks"]))
    engine.volumes.create(f"{here.settings.installation}-volume", labels=labels)
    engine.containers.run(
        here.settings.images["agent"],
        ["sleep", "600"],
        name=f"{here.settings.installation}-child",
        labels=labels,
        detach=True,
    )
    # One without our label, put on the sandbox's network.
    intruder = engine.containers.run(
        here.settings.images["agent"],
        ["sleep", "600"],
        name=f"{here.settings.installation}-intruder",
        network=network,
        detach=True,
    )
    assert intruder.name
    reaped = {(each.kind, each.name.removeprefix(here.settings.installation)) for each in await here.provisioner.reap()}
    assert reaped == {("volume", "-volume"), ("container", "-child"), ("container", "-intruder")}
    assert (await _status(here, spec)) == "running"
    # A container that somebody removed leaves its network to the reaper.
    engine.containers.get(spec.name).remove(force=True)
    assert [each.kind for each in await here.provisioner.reap()] == ["network"]
    assert await here.provisioner.reap() == []


async def test_an_engine_that_is_away_says_so() -> None:
    away = DockerProvisioner(DockerSettings(installation="away", images={}, base_url="unix:///no/such.sock"))
    with pytest.raises(EngineAway):
        await away.check()
    with pytest.raises(EngineAway):
        await away.list()
    assert [change async for change in away.changes()] == []
    await away.close()


@pytest.mark.usefixtures("image")
async def test_an_engine_that_goes_away_is_told_from_one_that_says_no_and_is_found_again(tmp_path: Path) -> None:
    ends: list[End] = []
    there = Target(path="/var/run/docker.sock")

    def made(end: End) -> None:
        async def lead() -> None:
            ends.append(await connect(there))
            end.join(ends[-1], 60)

        tasks.append(asyncio.ensure_future(lead()))

    tasks: list[asyncio.Task[None]] = []
    socket, name = tmp_path / "engine.sock", unique("away")
    loop = asyncio.get_running_loop()
    server = await loop.create_unix_server(lambda: End(made), socket)
    async with world(name, tmp_path) as here:
        spec = await here.run("one")
        other = DockerProvisioner(replace(here.settings, base_url=f"unix://{socket}", network=None))
        stats, changes = other.stats(spec.name), other.changes()
        await anext(stats)
        ended = asyncio.ensure_future(anext(changes, None))
        server.close()
        socket.unlink(missing_ok=True)
        for end in ends:
            end.transport.abort()
        with pytest.raises(EngineAway):
            await other.list()
        with pytest.raises(EngineAway):
            async for _ in stats:
                pass
        with pytest.raises(EngineAway):
            await other.provision(replace(spec, name=f"{name}-two"))
        assert await asyncio.wait_for(ended, 20) is None
        server = await loop.create_unix_server(lambda: End(made), socket)
        assert [each.name for each in await other.list()] == [spec.name]
        await other.delete(spec.name)
        await other.close()
        server.close()
        assert [each.kind for each in await here.provisioner.reap()] == ["network"]
    await asyncio.gather(*tasks)
    assert left(name) == []


@pytest.mark.usefixtures("image")
async def test_a_restarted_service_takes_over_what_was_made_ready(tmp_path: Path) -> None:
    name = unique("take")
    async with world(name, tmp_path, spare=2) as here:
        spec = await here.run("one")
        async with asyncio.timeout(20):
            # The sandbox, the proxy, the uplink, its network and two more; no event tells of a network.
            while len(left(name)) < 6:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        other = DockerProvisioner(here.settings)
        found = await other.list()
        assert [each.name for each in found] == [spec.name]
        assert await other.reap() == []
        await other.close()
    assert left(name) == []


async def test_with_services_in_containers_the_proxy_finds_them_by_name(image: str, tmp_path: Path) -> None:
    name, engine = unique("comp"), client()
    labels = {"runyard.test": "sandbox"}
    network = engine.networks.create(name, labels=labels)
    volume = engine.volumes.create(f"{name}-relay", labels=labels)
    service = engine.containers.run(
        image, ["python3", "-m", "http.server", "8080"], name=f"{name}-svc", network=name, labels=labels, detach=True
    )
    # Only root sees a volume from outside of a container.
    root = os.geteuid() == 0
    try:
        async with world(
            name,
            tmp_path,
            forwards=(Forward(8080, f"{name}-svc", 8080),),
            service_network=name,
            relay_folder=Path(volume.attrs["Mountpoint"]) if root else tmp_path / "relay",
            relay_volume=volume.name if root else None,
        ) as here:
            spec = await here.run("one", "exec python3 -m http.server 6200", ports=(6200,))
            get = "for i in $(seq 50); do curl -sSf -o /dev/null http://runyard:8080/ && exit; sleep 0.1; done; exit 1"
            assert (await here.inside(spec, get))[0] == 0
            found = await here.provisioner.find(spec.name)
            assert found is not None
            assert b"Directory listing" in await _page(found.addresses[6200])
        assert left(name) == []
    finally:
        service.remove(force=True)
        network.remove()
        volume.remove()


async def _status(here: World, spec: Spec) -> str:
    found = await here.provisioner.find(spec.name)
    assert found is not None
    return found.status


async def _page(address: str, tries: int = 40) -> bytes:
    def get() -> bytes:
        with urllib.request.urlopen(f"http://{address}/", timeout=5) as answer:
            return answer.read()

    for _ in range(tries - 1):
        try:
            return await asyncio.to_thread(get)
        except (urllib.error.URLError, ConnectionError):
            await asyncio.sleep(0.1)
    return await asyncio.to_thread(get)

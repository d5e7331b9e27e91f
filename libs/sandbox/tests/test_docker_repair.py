"""What is left half made, or is taken away behind our back, is made good by the next look."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from runyard_sandbox import EngineAway, NotThere, SandboxFault
from runyard_sandbox.docker import DockerProvisioner
from runyard_sandbox.docker.engine import Engine

from .real_engine import World, client, left, unique, world

pytestmark = [pytest.mark.docker, pytest.mark.asyncio(loop_scope="module")]


def once_away(
    monkeypatch: pytest.MonkeyPatch, call: str, about: str | None = None, *, done: bool = False, after: int = 0
) -> None:
    """The engine once does not answer this call (about this, after so many); `done`: though it does it."""
    original: Callable[..., Awaitable[Any]] = getattr(Engine, call)
    calls = 0

    async def fail_once(self: Engine, *given: Any) -> Any:
        nonlocal calls
        calls += about is None or about in given
        if calls != after + 1:
            return await original(self, *given)
        calls += 1
        if done:
            await original(self, *given)
        raise EngineAway("no answer in time")

    monkeypatch.setattr(Engine, call, fail_once)


async def test_one_that_was_created_and_never_started_is_no_hindrance(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"{here.settings.installation}-half"
    once_away(monkeypatch, "start_container", name)
    with pytest.raises(EngineAway):
        await here.run("half")
    spec = await here.run("half")
    found = await here.provisioner.find(name)
    assert found is not None
    assert found.status == "running"
    assert await here.connects(spec, "runyard", 4222)
    await here.provisioner.delete(name)


async def test_one_that_is_made_during_a_look_for_leftovers_is_none(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, made, looking = Engine.networks, list[str](), asyncio.current_task()

    async def provision_first(self: Engine, labels: Sequence[str]) -> Any:
        if not made and asyncio.current_task() is looking:
            made.append("meanwhile")
            await here.run("meanwhile")
        return await original(self, labels)

    spec = await here.run("before")
    monkeypatch.setattr(Engine, "networks", provision_first)
    assert await here.provisioner.reap() == []
    monkeypatch.undo()
    names = {each.name for each in await here.provisioner.list()}
    assert names == {spec.name, f"{here.settings.installation}-meanwhile"}
    for name in names:
        await here.provisioner.delete(name)


async def test_a_proxy_that_was_half_made_is_led_to_every_sandbox(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = await here.run("cut")
    # The one that is made ready beside it would be the one without an answer.
    await networks(here.settings.installation, 2)
    engine = client()
    proxy = here.proxy
    engine.containers.get(proxy).remove(force=True)
    once_away(monkeypatch, "connect", proxy)
    with pytest.raises(SandboxFault):
        await here.provisioner.list()
    await here.provisioner.list()
    assert await here.connects(spec, "runyard", 4222)

    (network,) = engine.containers.get(spec.name).attrs["NetworkSettings"]["Networks"]
    engine.networks.get(network).disconnect(proxy, force=True)
    assert not await here.connects(spec, "runyard", 4222)
    await here.provisioner.list()
    assert await here.connects(spec, "runyard", 4222)
    engine.close()
    await here.provisioner.delete(spec.name)


async def test_a_proxy_whose_way_out_was_pruned_is_made_anew(here: World) -> None:
    spec = await here.run("pruned")
    engine = client()
    engine.containers.get(here.proxy).stop(timeout=1)
    engine.networks.prune(filters={"label": f"runyard.installation={here.settings.installation}"})
    await here.provisioner.list()
    assert await here.connects(spec, "runyard", 4222)
    engine.close()
    await here.provisioner.delete(spec.name)


async def test_a_prune_of_everything_that_stands_still_takes_nothing_that_is_in_use(here: World) -> None:
    resting, working = await here.run("resting"), await here.run("working")
    await here.provisioner.stop(resting.name, grace_seconds=0)
    engine = client()
    mine = {"label": f"runyard.installation={here.settings.installation}"}
    engine.containers.prune(filters=mine)
    engine.networks.prune(filters=mine)
    engine.volumes.prune(filters=mine)
    engine.close()
    assert await here.connects(working, "runyard", 4222)
    assert await here.provisioner.find(resting.name) is None
    with pytest.raises(NotThere):
        await here.provisioner.start(resting.name)
    again = await here.run("resting")
    assert await here.connects(again, "runyard", 4222)
    for spec in (again, working):
        await here.provisioner.delete(spec.name)
    await here.provisioner.reap()


async def test_one_at_rest_says_that_its_image_was_replaced(here: World, image: str) -> None:
    engine, name = client(), f"{here.settings.installation}-image"
    engine.images.get(image).tag(name, "new")
    spec = await here.run("old", image=f"{name}:new")
    container = engine.containers.get(spec.name)
    container.stop(timeout=0)
    before = await here.provisioner.find(spec.name)
    other = container.commit(name, "new")
    after = await here.provisioner.find(spec.name)
    assert before is not None
    assert after is not None
    assert (before.outdated, after.outdated) == (False, True)
    await here.provisioner.delete(spec.name)
    engine.images.remove(other.id, force=True)
    engine.close()


@pytest.mark.usefixtures("image")
async def test_networks_of_a_former_process_are_taken_over_once_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = unique("adopt")
    async with world(name, tmp_path, spare=2) as former:
        one = await former.run("one")
        await networks(name, 3)
        here = World(DockerProvisioner(former.settings), former.settings)
        with monkeypatch.context() as patch:
            once_away(patch, "connect", after=1)
            with pytest.raises(EngineAway):
                await here.provisioner.list()
        await here.provisioner.list()
        made = [await here.run(f"new-{number}") for number in range(3)]
        assert [await here.connects(spec, "runyard", 4222) for spec in made] == [True, True, True]
        for spec in (one, *made):
            await here.provisioner.delete(spec.name)
        await here.provisioner.close()
    assert left(name) == []


@pytest.mark.parametrize(("call", "done"), [("create_network", True), ("connect", False)])
@pytest.mark.usefixtures("image")
async def test_a_network_whose_making_was_never_answered_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, call: str, done: bool
) -> None:
    name = unique("net")
    async with world(name, tmp_path, spare=0) as here:
        spec = await here.run("one")
        once_away(monkeypatch, call, done=done)
        with pytest.raises(EngineAway):
            await here.run("two")
        monkeypatch.undo()
        assert [each.kind for each in await here.provisioner.reap()] == ["network"]
        assert await here.connects(spec, "runyard", 4222)
    assert left(name) == []


async def networks(installation: str, count: int) -> None:
    """Waits until there are so many networks of sandboxes, with the proxy on them."""
    engine = client()
    proxy = engine.containers.get(f"runyard-{installation}-proxy")
    async with asyncio.timeout(20):
        while len(proxy.attrs["NetworkSettings"]["Networks"]) <= count:
            await asyncio.to_thread(proxy.reload)
    engine.close()

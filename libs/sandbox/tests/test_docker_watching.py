"""What a real engine tells of a container while it runs: use, output, disk, changes and health."""

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path

import pytest

from runyard_sandbox import Change, Health, Mount, Spec, Stats
from runyard_sandbox.provisioner import MIB

from .real_engine import World

pytestmark = [pytest.mark.docker, pytest.mark.asyncio(loop_scope="module")]


async def test_what_it_uses_and_prints_is_told_until_it_ends(here: World) -> None:
    spec = await here.run("tell", "while :; do :; done & echo out; echo err >&2; sleep 600")
    readings = [reading async for reading in _first(here, spec, 3)]
    assert readings[-1].cpu_percent > 5
    assert readings[-1].memory_bytes > 0
    assert readings[-1].memory_limit_bytes == spec.limits.memory_bytes
    assert readings[-1].disk_bytes == 0
    assert {(line.text, line.stream) async for line in here.provisioner.logs(spec.name)} == {
        ("out", "stdout"),
        ("err", "stderr"),
    }

    async def to_the_end() -> None:
        async for _ in here.provisioner.stats(spec.name):
            pass
        async for _ in here.provisioner.logs(spec.name, follow=True):
            pass

    following = asyncio.ensure_future(to_the_end())
    await here.provisioner.stop(spec.name, grace_seconds=0)
    await asyncio.wait_for(following, 20)
    await here.provisioner.delete(spec.name)


@pytest.mark.parametrize("read_only", [True, False])
async def test_what_it_takes_of_the_disk_is_told_also_when_it_has_ended(
    here: World,
    tmp_path: Path,
    read_only: bool,  # noqa: FBT001
) -> None:
    work, home, beside = (_open_folder(tmp_path / name) for name in ("work", "home", "beside"))
    (beside / "of others").write_bytes(os.urandom(10 * MIB))
    spec = await here.run(
        f"disk-{read_only}",
        "dd if=/dev/urandom of=/home/agent/a bs=1M count=5 2>/dev/null; sleep 600",
        mounts=(Mount(work, "/work"), Mount(home, "/home/agent"), Mount(beside, "/beside", read_only=True)),
        read_only_root=read_only,
        purpose="agent" if read_only else "preview",
    )
    told: list[int] = []
    wrote = False
    async with asyncio.timeout(30):
        async for reading in here.provisioner.stats(spec.name):
            told.append((reading.disk_bytes or 0) // MIB)
            if told[-1] == 5 and not wrote:
                wrote = True
                # 60 MB where it works, and 7 beside its folders where it may write there.
                there = "/work/c" if read_only else "/var/tmp/c"  # noqa: S108 - inside
                assert (await here.inside(spec, "dd if=/dev/urandom of=/work/b bs=1M count=60"))[0] == 0
                assert (await here.inside(spec, f"dd if=/dev/urandom of={there} bs=1M count=7"))[0] == 0
            if told[-1] == 72:
                (home / "late").write_bytes(os.urandom(8 * MIB))
                await here.provisioner.stop(spec.name, grace_seconds=0)
    assert told[-1] == 80
    await here.provisioner.delete(spec.name)


async def test_what_happens_to_it_is_told(here: World) -> None:
    changes = here.provisioner.changes()
    first = asyncio.ensure_future(anext(changes))
    seen: list[str] = []
    # The stream is open when something made after it is heard of.
    spec = await here.run("changes-0")
    number = 0
    while not (await asyncio.wait([first], timeout=0.5))[0]:
        number += 1
        await here.run(f"changes-{number}")
    await here.provisioner.delete(spec.name)
    async with asyncio.timeout(20):
        async for change in changes:
            if change.name == spec.name:
                seen.append(change.what)
            if change.what == "destroy":
                break
    assert seen[-2:] == ["die", "destroy"]
    for each in range(1, number + 1):
        await here.provisioner.delete(f"{here.settings.installation}-changes-{each}")


@pytest.mark.parametrize(("test", "healthy"), [("true", True), ("false", False)])
async def test_its_health_is_told(here: World, test: str, healthy: bool) -> None:  # noqa: FBT001
    health = Health((test,), every_seconds=0.2, timeout_seconds=5, retries=1, start_seconds=0)
    changes = here.provisioner.changes()
    heard = asyncio.ensure_future(_until_health(changes))
    await asyncio.sleep(0)
    spec = await here.run(f"health-{test}", health=health)
    await asyncio.wait([heard], timeout=20)
    found = await here.provisioner.find(spec.name)
    listed = [each for each in await here.provisioner.list() if each.name == spec.name]
    assert found is not None
    assert found.healthy is healthy
    assert [each.healthy for each in listed] == [healthy]
    await here.provisioner.delete(spec.name)


def _open_folder(path: Path) -> Path:
    path.mkdir()
    path.chmod(0o777)
    return path


async def _first(here: World, spec: Spec, count: int) -> AsyncGenerator[Stats]:
    async for reading in here.provisioner.stats(spec.name):
        yield reading
        count -= 1
        if not count:
            return


async def _until_health(changes: AsyncIterator[Change]) -> None:
    async for change in changes:
        if change.what.startswith("health_status"):
            return

"""How much of the disk folders take, whatever is put into them, and how seldom that is looked at."""

import asyncio
import os
from pathlib import Path

from runyard_sandbox.disk import Bounds, DiskUse, Look, disk_use
from runyard_sandbox.provisioner import MIB, EngineAway


def write(path: Path, size: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(os.urandom(size))


def taken(*folders: Path, bounds: Bounds | None = None) -> float:
    """In MiB, without what folders themselves take."""
    found = disk_use(folders, bounds)
    assert found is not None
    return found // MIB


async def until_it_is(disk: DiskUse, look: Look, wanted: int) -> None:
    async with asyncio.timeout(10):
        while True:
            if await disk.of("a", look) == wanted:
                return
            await asyncio.sleep(0.001)


def test_files_count_once_whatever_their_names_and_however_they_are_reached(tmp_path: Path) -> None:
    write(tmp_path / "tree" / "a" / "file", 2 * MIB)
    os.link(tmp_path / "tree" / "a" / "file", tmp_path / "tree" / "again")
    assert taken(tmp_path / "tree") == 2
    assert taken(tmp_path / "tree", tmp_path / "tree" / "a") == 2
    assert taken(tmp_path / "tree" / "a", tmp_path / "tree") == 2


def test_links_lead_nowhere_and_holes_take_nothing(tmp_path: Path) -> None:
    write(tmp_path / "elsewhere" / "file", 5 * MIB)
    write(tmp_path / "tree" / "file", 1 * MIB)
    (tmp_path / "tree" / "folder").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "tree" / "link").symlink_to(tmp_path / "elsewhere" / "file")
    with (tmp_path / "tree" / "sparse").open("wb") as sparse:
        sparse.truncate(1024 * MIB)
    os.mkfifo(tmp_path / "tree" / "fifo")
    assert taken(tmp_path / "tree") == 1
    (tmp_path / "linked").symlink_to(tmp_path / "elsewhere")
    assert disk_use([tmp_path / "linked"]) is None


def test_what_cannot_be_seen_from_here_is_not_known(tmp_path: Path) -> None:
    assert disk_use([tmp_path, tmp_path / "of another machine"]) is None
    assert disk_use([]) == 0


def test_a_look_ends_within_its_bounds_and_says_what_it_has_seen(tmp_path: Path) -> None:
    deep = tmp_path / "tree"
    for _ in range(100):
        deep /= "d"
    write(deep / "file", 3 * MIB)
    for number in range(50):
        write(tmp_path / "tree" / f"file-{number}", 1)
    assert taken(tmp_path / "tree") == 0
    assert taken(tmp_path / "tree", bounds=Bounds(depth=200)) == 3
    few = disk_use([tmp_path / "tree"], Bounds(entries=5))
    more = disk_use([tmp_path / "tree"], Bounds(entries=40))
    assert few is not None
    assert more is not None
    assert few < more
    assert taken(tmp_path / "tree", bounds=Bounds(depth=200, seconds=0)) == 0


async def test_it_is_looked_at_once_in_a_while_for_all_who_ask() -> None:
    looks = 0

    async def look() -> int | None:
        nonlocal looks
        looks += 1
        await asyncio.sleep(0)
        return looks

    seldom, often = DiskUse(3600), DiskUse(0)
    assert [await seldom.of("a", look) for _ in range(3)] == [1, 1, 1]
    assert await seldom.last("a", look) == 2
    assert await often.of("a", look) == 3
    await until_it_is(often, look, 5)
    await often.close()
    await seldom.close()


async def test_measures_do_not_wait_for_a_look_that_takes_long() -> None:
    hangs = asyncio.Event()

    async def look() -> int | None:
        await hangs.wait()
        return 7

    disk = DiskUse(0)
    assert await disk.of("a", look) is None
    assert await disk.of("a", look) is None
    hangs.set()
    await until_it_is(disk, look, 7)
    await disk.close()


async def test_what_an_engine_does_not_say_is_not_known() -> None:
    async def look() -> int | None:
        raise EngineAway("away")

    disk = DiskUse(0)
    assert await disk.of("a", look) is None
    assert await disk.last("a", look) is None

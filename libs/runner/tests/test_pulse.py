"""The sign of life of a runner in a container."""

import asyncio
import os
import time
from pathlib import Path

from runyard_runner.pulse import beat


async def written(path: Path, after: str = "") -> str:
    async with asyncio.timeout(10):
        while True:
            if path.is_file() and (text := path.read_text()) != after:  # noqa: ASYNC240 - a test's own folder
                return text
            await asyncio.sleep(0.01)


async def test_it_is_written_for_as_long_as_the_loop_turns(tmp_path: Path) -> None:
    path = tmp_path / "pulse"
    beating = asyncio.create_task(beat(path, 0.05))
    first = await written(path)
    uptime = float(Path("/proc/uptime").read_text().split()[0])  # noqa: ASYNC240
    assert uptime - 2 <= int(first) <= uptime
    before = path.read_text()
    time.sleep(1.5)  # noqa: ASYNC251 - the loop stands still
    assert path.read_text() == before
    assert int(await written(path, before)) > int(before)
    beating.cancel()


async def test_neither_a_link_nor_a_folder_in_its_place_ends_the_runner(tmp_path: Path) -> None:
    other, path = tmp_path / "other", tmp_path / "pulse"
    other.write_text("of somebody else")
    path.symlink_to(other)
    beating = asyncio.create_task(beat(path, 0.01))
    await asyncio.sleep(0.05)
    path.unlink()
    path.mkdir()
    await asyncio.sleep(0.05)
    path.rmdir()
    os.mkfifo(path)
    await asyncio.sleep(0.05)
    path.unlink()
    assert (await written(path)).strip().isdigit()
    assert other.read_text() == "of somebody else"
    beating.cancel()

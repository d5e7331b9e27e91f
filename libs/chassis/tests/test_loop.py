"""Processes started on the services' loop: the same as on any other."""

import asyncio
import io
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from runyard_chassis.loop import new_event_loop

PIPE = asyncio.subprocess.PIPE
Main = Callable[[], Coroutine[Any, Any, None]]


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def run(main: Main) -> None:
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(main())


def test_a_process_is_written_to_read_from_and_waited_for() -> None:
    async def main() -> None:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            "import sys; t = sys.stdin.read(); print(t[::-1]); sys.exit(3)",
            stdin=PIPE,
            stdout=PIPE,
        )
        out, _ = await process.communicate(b"x" * 200_000 + b"y")
        assert out.strip() == b"y" + b"x" * 200_000
        assert process.returncode == 3

    run(main)


class Watched(io.FileIO):
    """A pipe that knows whether there was still something to close when it was closed."""

    was_open: bool | None = None

    def close(self) -> None:
        if self.was_open is None:
            self.was_open = Path(f"/proc/self/fd/{self.fileno()}").exists()
        super().close()


@pytest.mark.parametrize("reading", [True, False])
def test_a_pipe_is_closed_once(reading: bool) -> None:  # noqa: FBT001
    async def main() -> None:
        ends = os.pipe()
        pipe = Watched(ends[0] if reading else ends[1], "rb" if reading else "wb")
        loop = asyncio.get_running_loop()
        connect: Any = loop.connect_read_pipe if reading else loop.connect_write_pipe
        transport, _ = await connect(asyncio.Protocol, pipe)
        before = open_descriptors()
        transport.abort() if not reading else transport.close()
        await asyncio.sleep(0)
        # A second close would have met whatever another thread has opened by now.
        assert pipe.was_open
        assert open_descriptors() == before - 1
        os.close(ends[1] if reading else ends[0])

    run(main)


def test_a_group_of_its_own_can_be_killed() -> None:
    async def main() -> None:
        process = await asyncio.create_subprocess_exec("sleep", "60", start_new_session=True)
        assert os.getpgid(process.pid) == process.pid
        os.killpg(process.pid, signal.SIGKILL)
        assert await process.wait() == -signal.SIGKILL

    run(main)


def test_a_program_that_is_not_there_is_an_error() -> None:
    async def main() -> None:
        with pytest.raises(FileNotFoundError):
            await asyncio.create_subprocess_exec("/nowhere/at/all")
        with pytest.raises(FileNotFoundError):
            await asyncio.create_subprocess_exec("true", cwd="/nowhere/at/all")

    run(main)


def test_many_at_once_end_and_leave_no_descriptor_open() -> None:
    async def one(number: int) -> None:
        process = await asyncio.create_subprocess_exec("sh", "-c", f"echo {number}; exit {number}", stdout=PIPE)
        out, _ = await process.communicate()
        assert (int(out), process.returncode) == (number, number)

    async def main() -> None:
        await one(0)
        before = open_descriptors()
        await asyncio.gather(*(one(number) for number in range(40)))
        await asyncio.sleep(0)
        assert open_descriptors() <= before

    run(main)


def test_a_terminated_process_that_was_never_read_leaves_nothing_waiting() -> None:
    async def main() -> None:
        process = await asyncio.create_subprocess_exec("yes", stdout=PIPE, stderr=PIPE)
        process.terminate()
        async with asyncio.timeout(20):
            await process.wait()
        assert process.returncode == -signal.SIGTERM

    run(main)

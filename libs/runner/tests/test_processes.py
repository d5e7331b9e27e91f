"""Agents as child processes: nothing of them survives, whoever dies first."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from runyard_runner.environment import agent_environment
from runyard_runner.processes import (
    LineTooLong,
    Mark,
    orphans,
    reap_orphans,
    spawn,
    split_lines,
    start_time,
)

ENV = {"PATH": os.environ["PATH"]}
NEST = "setsid sh -c 'sleep 300 & sleep 301' & setsid sleep 302 & echo ready; wait"


def alive(family: dict[int, str]) -> list[int]:
    return [pid for pid, started in family.items() if start_time(pid) == started]


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


async def test_stopping_ends_a_whole_family_in_other_sessions(tmp_path: Path) -> None:
    child = await spawn(["/bin/sh", "-c", NEST], cwd=tmp_path, env=ENV, folder=tmp_path)
    lines = child.lines()
    assert await anext(lines) == b"ready"
    assert len(child.family()) > 1
    await child.stop(grace=1)
    assert child.family() == {}


async def test_a_process_that_ignores_term_is_killed(tmp_path: Path) -> None:
    script = "trap '' TERM; echo ready; while :; do sleep 1; done"
    child = await spawn(["/bin/sh", "-c", script], cwd=tmp_path, env=ENV, folder=tmp_path)
    assert await anext(child.lines()) == b"ready"
    await child.stop(grace=0.2)
    assert not child.alive


async def test_stopping_one_that_nobody_has_read_to_the_end_leaves_no_file_open(tmp_path: Path) -> None:
    before = open_files()
    child = await spawn(["/bin/sh", "-c", "while :; do echo ready; done"], cwd=tmp_path, env=ENV, folder=tmp_path)
    assert await anext(child.lines()) == b"ready"
    await child.stop(grace=0.2)
    while open_files() > before:  # noqa: ASYNC110 - nothing announces a closed file
        await asyncio.sleep(0)


async def test_what_a_dead_agent_left_is_found_by_its_mark(tmp_path: Path) -> None:
    child = await spawn(["/bin/sh", "-c", NEST], cwd=tmp_path, env=ENV, folder=tmp_path)
    assert await anext(child.lines()) == b"ready"
    child.process.send_signal(signal.SIGKILL)
    await asyncio.wait_for(child.exited(), 20)
    left = child.family()
    assert left
    await child.stop(grace=1)
    assert alive(left) == []


async def test_a_process_that_has_got_the_number_of_a_child_that_ended_is_not_its_family(tmp_path: Path) -> None:
    child = await spawn(["/bin/sh", "-c", "exit"], cwd=tmp_path, env=ENV, folder=tmp_path)
    await asyncio.wait_for(child.exited(), 20)
    other = await asyncio.create_subprocess_exec("sleep", "60")
    child.pid = other.pid
    await child.stop(grace=0.2)
    assert start_time(other.pid) is not None
    other.kill()
    await other.wait()


async def test_orphans_of_a_dead_runner_are_reaped_and_children_of_a_living_one_are_not(tmp_path: Path) -> None:
    # The runner's death takes the agent along, but not what the agent has started.
    runner = """
import asyncio, os, sys
from pathlib import Path
from runyard_runner.processes import spawn
async def main():
    folder = Path(sys.argv[1])
    child = await spawn(["/bin/sh", "-c", sys.argv[2]], cwd=folder, env={"PATH": os.environ["PATH"]}, folder=folder)
    print((await anext(child.lines())).decode(), flush=True)
    await asyncio.sleep(300)
asyncio.run(main())
"""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", runner, str(tmp_path), NEST, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"ready\n"
    assert orphans(tmp_path) == {}
    mine = await spawn(["/bin/sh", "-c", "echo ready; sleep 303"], cwd=tmp_path, env=ENV, folder=tmp_path)
    assert await anext(mine.lines()) == b"ready"
    process.kill()
    await process.wait()
    left = orphans(tmp_path)
    assert left
    # The agent itself dies with its runner, perhaps only now.
    assert 0 < await reap_orphans(tmp_path) <= len(left)
    assert alive(left) == []
    assert mine.alive
    assert orphans(tmp_path) == {}
    await mine.stop()


def test_a_mark_reads_back_and_strangers_are_none() -> None:
    mark = Mark.new(Path("/data/agents"))
    assert Mark.parse(str(mark)) == mark
    assert not mark.orphaned
    assert Mark.parse("what|ever") is None


async def stream_of(*chunks: bytes) -> asyncio.StreamReader:
    stream = asyncio.StreamReader()
    for chunk in chunks:
        stream.feed_data(chunk)
    stream.feed_eof()
    return stream


async def test_lines_are_put_together_from_any_pieces() -> None:
    stream = await stream_of(b"one\ntw", b"o\n\nthr", b"ee")
    assert [line async for line in split_lines(stream)] == [b"one", b"two", b"", b"three"]


async def test_a_line_of_a_megabyte_passes_and_one_without_end_does_not() -> None:
    stream = await stream_of(b"x" * 1_000_000 + b"\n")
    assert [len(line) async for line in split_lines(stream)] == [1_000_000]
    endless = await stream_of(b"x" * 300_000)
    with pytest.raises(LineTooLong):
        [line async for line in split_lines(endless, limit=100_000)]


def test_the_agent_sees_a_short_list_of_variables_only() -> None:
    source = {"PATH": "/bin", "LANG": "de_DE.UTF-8", "HOME": "/root", "OPENAI_API_KEY": "k", "JWT_SECRET_KEY": "s"}
    assert agent_environment(source, Path("/h")) == {"PATH": "/bin", "LANG": "de_DE.UTF-8", "HOME": "/h"}

"""Codex's processes: one per session, warm between runs, bounded; and the protocol with one of them."""

import asyncio
from pathlib import Path
from typing import cast

import pytest

from runyard_runner.adapter import AgentFailed, AgentStart
from runyard_runner_codex.adapters.app_server import AppServer
from runyard_runner_codex.adapters.homes import READY, Homes
from runyard_runner_codex.adapters.servers import Servers


class FakeServer:
    def __init__(self) -> None:
        self.alive = True
        self.forgotten = 0

    def forget(self) -> None:
        self.forgotten += 1

    async def stop(self, *, grace: float = 3.0) -> None:  # noqa: ARG002 - as the real one
        self.alive = False


class FakeStart:
    def __init__(self, session: str) -> None:
        self.session_id = session


def start(session: str) -> AgentStart:
    return cast("AgentStart", FakeStart(session))


class Boots:
    def __init__(self) -> None:
        self.made: list[FakeServer] = []

    async def __call__(self, _: AgentStart) -> AppServer:
        self.made.append(FakeServer())
        return cast("AppServer", self.made[-1])


async def test_a_session_keeps_its_process_from_run_to_run() -> None:
    boots = Boots()
    servers = Servers(boots, idle_seconds=60, idle_limit=2)
    first = await servers.claim(start("a"))
    await servers.release("a", kill=False)
    assert await servers.claim(start("a")) is first
    assert boots.made[0].forgotten == 1
    await servers.release("a", kill=True)
    assert not boots.made[0].alive
    assert await servers.claim(start("a")) is not first
    await servers.close()


async def test_a_process_that_died_is_replaced() -> None:
    boots = Boots()
    servers = Servers(boots, idle_seconds=60, idle_limit=2)
    await servers.claim(start("a"))
    await servers.release("a", kill=False)
    boots.made[0].alive = False
    await servers.claim(start("a"))
    assert len(boots.made) == 2


async def test_the_longest_idle_process_goes_when_there_are_too_many() -> None:
    boots = Boots()
    servers = Servers(boots, idle_seconds=60, idle_limit=2)
    for session in "abc":
        await servers.claim(start(session))
    for session in "bca":
        await servers.release(session, kill=False)
    await asyncio.sleep(0)
    assert [one.alive for one in boots.made] == [True, False, True]


async def test_an_idle_process_ends_after_its_time() -> None:
    boots = Boots()
    servers = Servers(boots, idle_seconds=0.01, idle_limit=2)
    await servers.claim(start("a"))
    await servers.release("a", kill=False)
    async with asyncio.timeout(20):
        while boots.made[0].alive:  # noqa: ASYNC110 - a timer announces nothing
            await asyncio.sleep(0.01)
    assert servers.sessions == set()


async def test_two_runs_of_a_session_never_share_its_process_at_once() -> None:
    servers = Servers(Boots(), idle_seconds=60, idle_limit=2)
    first = await servers.claim(start("a"))
    second = asyncio.create_task(servers.claim(start("a")))
    await asyncio.sleep(0)
    assert not second.done()
    await servers.release("a", kill=False)
    assert await second is first
    await servers.release("a", kill=False)


async def test_a_process_that_does_not_start_leaves_no_seat_taken() -> None:
    async def fail(_: AgentStart) -> AppServer:
        raise AgentFailed("no binary")

    servers = Servers(fail, idle_seconds=60, idle_limit=2)
    for _ in range(2):
        with pytest.raises(AgentFailed):
            await servers.claim(start("a"))
    assert servers.sessions == set()


async def test_a_new_home_is_a_copy_of_the_prepared_one_and_an_old_one_is_left_alone(tmp_path: Path) -> None:
    made: list[Path] = []

    async def set_up(home: Path) -> None:
        made.append(home)
        (home / "state.sqlite").write_text("tables")
        (home / "sessions").mkdir()

    homes = Homes(tmp_path, "1", set_up)
    await homes.open(tmp_path / "before")
    await homes.prepare()
    await homes.prepare()
    assert len(made) == 1
    await homes.open(tmp_path / "new")
    found = sorted(path.name for path in (tmp_path / "new").iterdir())
    assert found == ["state.sqlite", "tmp"]
    assert READY not in found
    (tmp_path / "new" / "state.sqlite").write_text("own")
    await homes.open(tmp_path / "new")
    assert (tmp_path / "new" / "state.sqlite").read_text() == "own"
    assert not (tmp_path / "before" / "state.sqlite").exists()

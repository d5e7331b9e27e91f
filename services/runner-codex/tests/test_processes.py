"""Codex's processes: one per session, warm between runs, bounded; and the protocol with one of them."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any, cast

import pytest

from runyard_runner.adapter import AgentFailed, AgentStart
from runyard_runner.processes import spawn
from runyard_runner_codex.adapters.app_server import AppServer, RpcError
from runyard_runner_codex.adapters.homes import READY, Homes
from runyard_runner_codex.adapters.servers import Servers

PEER = """
import json, sys, time
def say(message): print(json.dumps(message), flush=True)
print("a stray line of a library", flush=True)
for line in sys.stdin:
    message = json.loads(line)
    match message.get("method"):
        case "fail": say({"id": message["id"], "error": {"code": -1, "message": "refused"}})
        case "silent": pass
        case "die": sys.exit(3)
        case "flood":
            for number in range(5000): say({"method": "n", "params": {"n": number, "text": "x" * 100}})
            say({"id": message["id"], "result": {}})
        case "big": say({"id": message["id"], "result": {"text": "x" * 3_000_000}})
        case "ask": say({"id": 0, "method": "may I?", "params": {}}); say({"id": message["id"], "result": {}})
        case None: say({"method": "told", "params": message.get("result") or message.get("error")})
        case _: say({"id": message["id"], "result": {"echo": message["params"]}})
"""


async def peer(folder: Path) -> AppServer:
    argv = [sys.executable, "-c", PEER]
    return AppServer(await spawn(argv, cwd=folder, env={"PATH": os.environ["PATH"]}, folder=folder))


async def test_requests_are_answered_refused_or_given_up(tmp_path: Path) -> None:
    server = await peer(tmp_path)
    assert await server.request("echo", {"a": 1}) == {"echo": {"a": 1}}
    with pytest.raises(RpcError, match="refused"):
        await server.request("fail")
    with pytest.raises(AgentFailed, match="did not answer"):
        await server.request("silent", limit=0.05)
    assert len((await server.request("big"))["text"]) == 3_000_000
    await server.stop()


async def test_the_death_of_the_process_is_told_to_everybody_who_waits(tmp_path: Path) -> None:
    server = await peer(tmp_path)
    with pytest.raises(AgentFailed, match="has ended"):
        await server.request("die")
    said = [message async for _, message in server.messages()]
    assert [message["method"] for message in said] == ["die"]
    assert not server.alive
    with pytest.raises(AgentFailed):
        await server.request("echo")
    await server.stop()


async def test_the_record_holds_both_sides_in_order(tmp_path: Path) -> None:
    server = await peer(tmp_path)
    await server.request("ask")
    await server.respond(0, {"decision": "accept"})
    record: list[tuple[str, Any]] = []
    async for direction, message in server.messages():
        record.append((direction, message.get("method") or message.get("result")))
        if record[-1][1] == "told":
            break
    assert record == [
        ("sent", "ask"),
        ("received", "may I?"),
        ("received", {}),
        ("sent", {"decision": "accept"}),
        ("received", "told"),
    ]
    await server.stop()


async def test_a_process_that_nobody_reads_is_held_back_and_loses_nothing(tmp_path: Path) -> None:
    server = await peer(tmp_path)
    asking = asyncio.create_task(server.request("flood"))
    numbers: list[int] = []
    async for _, message in server.messages():
        if message.get("method") == "n":
            numbers.append(message["params"]["n"])
        if len(numbers) == 5000:
            break
    assert numbers == list(range(5000))
    await asking
    await server.stop()


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
    async with asyncio.timeout(5):
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

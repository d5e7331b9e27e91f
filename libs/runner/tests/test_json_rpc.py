"""JSON-RPC with an agent's process: who asks gets an answer or learns why not, and everything is on record."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from runyard_runner.adapter import AgentFailed
from runyard_runner.json_rpc import JsonRpc, RpcError
from runyard_runner.processes import spawn

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


async def peer(folder: Path) -> JsonRpc:
    argv = [sys.executable, "-c", PEER]
    return JsonRpc(await spawn(argv, cwd=folder, env={"PATH": os.environ["PATH"]}, folder=folder))


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

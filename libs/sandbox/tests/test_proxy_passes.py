"""The proxy where addresses say nothing of who asks: sandboxes show a pass, and nobody goes out without one."""

import asyncio
import base64
import json
import os
from collections.abc import AsyncIterator
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from runyard_sandbox.proxy.config import ProxyConfig, Target
from runyard_sandbox.proxy.requests import Malformed, parse
from runyard_sandbox.proxy.server import ProxyServer


class Cluster:
    """A proxy that all sandboxes reach from one address, a host outside, and whoever knows the passes."""

    def __init__(self) -> None:
        self.good = {"pass-of-one"}
        self.asked: list[tuple[str, str | None]] = []
        self.received: list[str] = []
        self.outside = 0
        self.proxy = 0

    async def decide(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line, *headers = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
        query = parse_qs(urlsplit(line.split(" ")[1]).query)
        shown = dict(header.split(": ") for header in headers if header).get("X-Runyard-Pass")
        self.asked.append((query["host"][0], shown))
        body = json.dumps({"allowed": shown in self.good, "seconds": 60}).encode()
        writer.write(f"HTTP/1.1 200 X\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        writer.close()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.received.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\nConnection: close\r\n\r\nhere")
        writer.close()

    async def fetched(self, shown: str | None) -> int:
        by = f"http://session:{shown}@127.0.0.1:{self.proxy}" if shown else f"http://127.0.0.1:{self.proxy}"
        async with httpx.AsyncClient(proxy=by, trust_env=False) as client:
            return (await client.get(f"http://localhost:{self.outside}/")).status_code


@pytest.fixture(name="cluster")
async def _cluster(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Cluster]:
    # Loopback is never reached through the proxy; here it stands for the outside.
    monkeypatch.setattr("ipaddress.IPv4Address.is_loopback", False)
    cluster = Cluster()
    decisions = await asyncio.start_server(cluster.decide, "127.0.0.1", 0)
    outside = await asyncio.start_server(cluster.answer, "127.0.0.1", 0)
    cluster.outside = outside.sockets[0].getsockname()[1]
    there = Target(host="127.0.0.1", port=decisions.sockets[0].getsockname()[1])
    server = ProxyServer(
        ProxyConfig(forwards={}, decisions=there, egress_port=0, private_networks=("127.0.0.0/8",), token="between us")
    )
    await server.start("127.0.0.1")
    (cluster.proxy,) = server.ports
    yield cluster
    await server.close()
    for each in (decisions, outside):
        each.close()


async def test_who_shows_no_pass_is_asked_for_one_and_nobody_is_asked_about_it(cluster: Cluster) -> None:
    assert await cluster.fetched(None) == 407
    reader, writer = await asyncio.open_connection("127.0.0.1", cluster.proxy)
    writer.write(b"CONNECT localhost:443 HTTP/1.1\r\nProxy-Authorization: Bearer pass-of-one\r\n\r\n")
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 407 ")
    assert b'\r\nProxy-Authenticate: Basic realm="runyard"\r\n' in head
    writer.close()
    assert not cluster.asked
    assert not cluster.received


async def test_an_answer_for_one_pass_is_not_given_to_another_at_the_same_address(cluster: Cluster) -> None:
    assert [await cluster.fetched(shown) for shown in ("pass-of-one", "pass-of-none", "pass-of-one")] == [404, 403, 404]
    assert cluster.asked == [("localhost", "pass-of-one"), ("localhost", "pass-of-none")]
    assert "pass-of-one" not in str(cluster.received)
    assert "proxy-authorization" not in str(cluster.received).lower()


async def test_git_shows_its_pass_when_it_is_asked(cluster: Cluster) -> None:
    asked = await asyncio.create_subprocess_exec(
        *("git", "ls-remote", f"http://localhost:{cluster.outside}/repository"),
        env={
            "PATH": os.environ["PATH"],
            "HOME": "/nonexistent",
            "http_proxy": f"http://session:pass-of-one@127.0.0.1:{cluster.proxy}",
        },
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await asyncio.wait_for(asked.communicate(), 20)
    assert b"not found" in said
    assert cluster.received[0].startswith("GET /repository/info/refs")


def test_a_pass_that_would_be_more_than_a_header_is_refused() -> None:
    for password in (b"x\r\nAuthorization: y", b"", b"a b", "pässe".encode(), b"x" * 5000):
        shown = base64.b64encode(b"session:" + password).decode()
        with pytest.raises(Malformed):
            parse(f"CONNECT host:443 HTTP/1.1\r\nProxy-Authorization: Basic {shown}\r\n\r\n".encode())
    with pytest.raises(Malformed):
        parse(b"CONNECT host:443 HTTP/1.1\r\nProxy-Authorization: Basic ???\r\n\r\n")

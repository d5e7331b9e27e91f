"""The proxy with real sockets, on loopback in the place of networks."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from runyard_sandbox.proxy.config import ProxyConfig, Target, decoded
from runyard_sandbox.proxy.names import answer
from runyard_sandbox.proxy.requests import Malformed, parse
from runyard_sandbox.proxy.server import ProxyServer


class World:
    """A proxy, the orchestrator that it asks, a host outside and a service inside."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[tuple[str, str, int]] = []
        self.allowed = True
        self.seconds = 0.0
        self.status = 200
        self.received = bytearray()
        self.outside = 0
        self.egress = 0
        self.forward = 0

    async def decide(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        query = parse_qs(urlsplit(head.split(" ")[1]).query)
        self.asked.append((query["peer"][0], query["host"][0], int(query["port"][0])))
        assert "authorization: bearer between us" in head.lower()
        body = json.dumps({"allowed": self.allowed, "seconds": self.seconds}).encode()
        writer.write(f"HTTP/1.1 {self.status} X\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        writer.close()

    async def echo(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            self.received += data
            writer.write(data)
            await writer.drain()
        writer.close()

    async def ask(self, request: str, *, then: bytes = b"") -> bytes:
        """A request to the egress proxy, ended by us; all that comes back."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.egress)
        writer.write(request.replace("\n", "\r\n").encode() + then)
        writer.write_eof()
        answer = await asyncio.wait_for(reader.read(), 10)
        writer.close()
        return answer

    async def tunnel(self, host: str) -> tuple[bytes, asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.egress)
        writer.write(f"CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
        return head, reader, writer


@pytest.fixture(name="world")
async def _world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    # Loopback is never reached through the proxy; here it stands for the outside.
    monkeypatch.setattr("ipaddress.IPv4Address.is_loopback", property(lambda address: str(address) == "127.0.0.9"))
    world = World(tmp_path)
    decisions = await asyncio.start_unix_server(world.decide, tmp_path / "decisions.sock")
    outside = await asyncio.start_server(world.echo, "127.0.0.1", 0)
    inside = await asyncio.start_unix_server(world.echo, tmp_path / "nats.sock")
    world.outside = outside.sockets[0].getsockname()[1]
    config = ProxyConfig(
        forwards={0: Target(path=str(tmp_path / "nats.sock"))},
        decisions=Target(path=str(tmp_path / "decisions.sock")),
        pages=str(tmp_path / "pages.sock"),
        subnets="127.0.0.2/32",
        only_subnets=False,
        egress_port=0,
        private_networks=("127.0.0.0/8",),
        most_connections_each=4,
        idle_seconds=30,
    )
    server = ProxyServer(decoded(config.encoded(), "between us"))
    await server.start("127.0.0.1")
    world.forward, world.egress = server.ports
    yield world
    await server.close()
    for each in (decisions, outside, inside):
        each.close()


async def test_a_tunnel_to_an_allowed_host_carries_both_ways_and_both_ends(world: World) -> None:
    head, reader, writer = await world.tunnel(f"localhost:{world.outside}")
    assert head.startswith(b"HTTP/1.1 200 ")
    data = b"x" * 3_000_000
    writer.write(data)
    writer.write_eof()
    assert await asyncio.wait_for(reader.read(), 20) == data
    assert world.asked == [("127.0.0.1", "localhost", world.outside)]


async def test_a_host_that_is_not_allowed_is_refused_before_anything_is_connected(world: World) -> None:
    world.allowed = False
    head, _, _ = await world.tunnel(f"localhost:{world.outside}")
    assert head.startswith(b"HTTP/1.1 403 ")
    assert not world.received


@pytest.mark.parametrize("status", [500, 404, 302])
async def test_without_an_answer_nothing_is_allowed(world: World, status: int) -> None:
    world.status = status
    head, _, _ = await world.tunnel(f"localhost:{world.outside}")
    assert head.startswith(b"HTTP/1.1 503 ")


async def test_with_the_orchestrator_away_nothing_is_allowed(world: World) -> None:
    (world.folder / "decisions.sock").unlink()
    head, _, _ = await world.tunnel(f"localhost:{world.outside}")
    assert head.startswith(b"HTTP/1.1 503 ")


async def test_an_answer_is_kept_for_as_long_as_it_says(world: World) -> None:
    world.seconds = 60
    for _ in range(3):
        await world.tunnel(f"localhost:{world.outside}")
    assert len(world.asked) == 1
    world.seconds = 0
    for _ in range(2):
        await world.tunnel("127.0.0.1:1")
    assert len(world.asked) == 3


async def test_an_allowed_name_that_leads_to_a_forbidden_address_is_refused(world: World) -> None:
    for host in ("127.0.0.9", "127.0.0.2", "169.254.169.254", "0", "[::1]", "[::ffff:127.0.0.9]", "10.1.2.3"):
        head, _, _ = await world.tunnel(f"{host}:{world.outside}")
        assert head.startswith(b"HTTP/1.1 403 "), host
    assert not world.received


async def test_a_plain_request_is_sent_on_for_the_host_that_was_asked_about(world: World) -> None:
    request = (
        f"POST http://localhost:{world.outside}/a?b=c HTTP/1.1\nHost: other.example\nProxy-Authorization: x\n"
        "Content-Length: 4\nConnection: keep-alive\n\n"
    )
    await world.ask(request, then=b"body")
    sent = world.received.decode()
    assert sent.startswith(f"POST /a?b=c HTTP/1.1\r\nHost: localhost:{world.outside}\r\nConnection: close\r\n")
    assert sent.endswith("Content-Length: 4\r\n\r\nbody")
    assert "other.example" not in sent
    assert "Proxy-Authorization" not in sent


@pytest.mark.parametrize(
    "request_line",
    [
        "GET / HTTP/1.1",
        "GET ftp://host/ HTTP/1.1",
        "CONNECT host HTTP/1.1",
        "CONNECT host:0 HTTP/1.1",
        "CONNECT host:99999 HTTP/1.1",
        "CONNECT ho st:443 HTTP/1.1",
        "CONNECT user@host:443 HTTP/1.1",
        "CONNECT host:443 HTTP/2",
        "GET http://user:pw@host/ HTTP/1.1",
        "nonsense",
    ],
)
async def test_what_is_no_request_to_a_proxy_is_refused(world: World, request_line: str) -> None:
    assert (await world.ask(f"{request_line}\n\n")).startswith(b"HTTP/1.1 400 ")
    assert not world.asked


@given(
    method=st.sampled_from(["CONNECT", "GET", "POST", "get"]),
    target=st.one_of(st.text(max_size=40), st.from_regex(r"http://[\[\]a-z0-9.:@%/?#-]{0,30}")),
    rest=st.binary(max_size=60),
)
@example("GET", "http://[::1", b"")
@example("GET", "http://[v1.x]/", b"\r\nHost : x")
def test_any_head_is_read_or_refused(method: str, target: str, rest: bytes) -> None:
    try:
        head = parse(f"{method} {target} HTTP/1.1\r\n".encode() + rest + b"\r\n\r\n")
    except Malformed:
        return
    assert head.host == head.host.lower()
    assert 0 < head.port < 65536
    # One head and no second one: nothing that was sent can become a request of its own.
    assert head.first.count(b"\r\n\r\n") <= 1
    assert not any(line.startswith((b" ", b"\t")) for line in head.first.split(b"\r\n"))


async def test_a_head_without_end_is_refused(world: World) -> None:
    answer = await world.ask("GET http://localhost/ HTTP/1.1\nX: " + "x" * 70_000)
    assert answer.startswith(b"HTTP/1.1 431 ") or not answer


async def test_no_more_connections_of_one_sandbox_than_its_share(world: World) -> None:
    held = [await world.tunnel(f"localhost:{world.outside}") for _ in range(4)]
    reader, writer = await asyncio.open_connection("127.0.0.1", world.egress)
    writer.write(b"CONNECT localhost:1 HTTP/1.1\r\n\r\n")
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await reader.readuntil(b"\r\n\r\n")
    for _, held_reader, held_writer in held:
        held_writer.write_eof()
        await held_reader.read()
        held_writer.close()

    async def until_taken() -> bytes:
        while True:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                return (await world.tunnel(f"localhost:{world.outside}"))[0]

    assert (await asyncio.wait_for(until_taken(), 10)).startswith(b"HTTP/1.1 200 ")


async def test_a_service_is_reached_through_its_forward(world: World) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", world.forward)
    writer.write(b"PING\r\n")
    assert await reader.readline() == b"PING\r\n"
    writer.write_eof()
    assert not await reader.read()


async def test_what_is_said_at_once_is_not_lost(world: World) -> None:
    for _ in range(100):
        reader, writer = await asyncio.open_connection("127.0.0.1", world.forward)
        writer.write(b"at once")
        writer.write_eof()
        assert await asyncio.wait_for(reader.read(), 5) == b"at once"
        writer.close()


async def test_a_service_that_is_away_ends_the_connection(world: World) -> None:
    (world.folder / "nats.sock").unlink()
    reader, _ = await asyncio.open_connection("127.0.0.1", world.forward)
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await reader.readexactly(1)


async def test_the_platform_reaches_a_port_of_a_sandbox_and_of_nothing_else(world: World) -> None:
    server = await asyncio.start_server(world.echo, "127.0.0.2", 0)
    port = server.sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_unix_connection(world.folder / "pages.sock")
    writer.write(f"127.0.0.2 {port}\nGET /".encode())
    assert await reader.readexactly(15) == b"connected\nGET /"
    writer.close()
    for line in (f"127.0.0.1 {world.outside}\n", "127.0.0.2 1\n", "nonsense\n", "x" * 400):
        reader, writer = await asyncio.open_unix_connection(world.folder / "pages.sock")
        writer.write(line.encode())
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
    server.close()


async def test_only_sandboxes_are_served(world: World, tmp_path: Path) -> None:
    config = ProxyConfig(
        forwards={0: Target(path=str(tmp_path / "nats.sock"))},
        decisions=Target(path="none"),
        pages=str(tmp_path / "other.sock"),
        subnets="127.0.0.2/32",
        egress_port=0,
    )
    server = ProxyServer(config)
    await server.start("127.0.0.1")
    for port in server.ports:
        reader, _ = await asyncio.open_connection("127.0.0.1", port)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await asyncio.wait_for(reader.readexactly(1), 20)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.ports[0], local_addr=("127.0.0.2", 0))
    writer.write(b"x")
    assert await reader.readexactly(1) == b"x"
    writer.close()
    await server.close()


async def test_a_connection_on_which_nothing_moves_is_closed(world: World, tmp_path: Path) -> None:
    config = ProxyConfig(
        forwards={0: Target(path=str(tmp_path / "nats.sock"))},
        decisions=Target(path="none"),
        pages=str(tmp_path / "other.sock"),
        subnets="127.0.0.2/32",
        only_subnets=False,
        egress_port=0,
        forward_idle_seconds=0.2,
    )
    server = ProxyServer(config)
    await server.start("127.0.0.1")
    reader, writer = await asyncio.open_connection("127.0.0.1", server.ports[0])
    writer.write(b"x")
    assert await reader.readexactly(1) == b"x"
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await asyncio.wait_for(reader.readexactly(1), 20)
    await server.close()


async def test_a_sandbox_sends_to_services_no_faster_than_it_may_and_others_do_not_notice(
    world: World, tmp_path: Path
) -> None:
    config = ProxyConfig(
        forwards={0: Target(path=str(tmp_path / "nats.sock"))},
        decisions=Target(path="none"),
        subnets="127.0.0.0/28",
        egress_port=0,
        forward_rate=200_000,
        forward_burst=100_000,
    )
    server = ProxyServer(config)
    await server.start("127.0.0.1")
    loop = asyncio.get_running_loop()

    async def send(size: int, address: str) -> float:
        started = loop.time()
        reader, writer = await asyncio.open_connection("127.0.0.1", server.ports[0], local_addr=(address, 0))
        writer.write(b"x" * size)
        writer.write_eof()
        assert len(await reader.read()) == size
        writer.close()
        return loop.time() - started

    async with asyncio.timeout(20):
        # By two connections, which have one budget: each is held at the latest when the other has used it up.
        flood = [asyncio.ensure_future(send(300_000, "127.0.0.2")) for _ in range(2)]
        assert await send(90_000, "127.0.0.3") < 0.5
        assert not any(each.done() for each in flood)
        assert max(await asyncio.gather(*flood)) > 1.0
    await server.close()


async def test_who_may_send_again_still_waits_for_a_service_that_takes_nothing(tmp_path: Path) -> None:
    taking, taken, size, got = asyncio.Event(), asyncio.Event(), 32 * 1024**2, 0

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal got
        await taking.wait()
        while data := await reader.read(65536):
            got += len(data)
        taken.set()
        writer.close()

    service = await asyncio.start_unix_server(take, tmp_path / "slow.sock")
    config = ProxyConfig(
        forwards={0: Target(path=str(tmp_path / "slow.sock"))},
        decisions=Target(path="none"),
        subnets="127.0.0.0/28",
        egress_port=0,
        forward_rate=400_000_000,
        forward_burst=1,
    )
    server = ProxyServer(config)
    await server.start("127.0.0.1")
    _, writer = await asyncio.open_connection("127.0.0.1", server.ports[0])
    writer.write(b"x" * size)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(writer.drain(), 1)  # what the proxy and the kernel hold is much less
    taking.set()
    async with asyncio.timeout(20):
        await writer.drain()
        writer.write_eof()
        await taken.wait()
    assert got == size
    writer.close()
    await server.close()
    service.close()


def test_what_the_proxy_is_told_comes_to_it_as_it_was_without_the_secret() -> None:
    config = ProxyConfig(
        forwards={4222: Target(path="/a.sock"), 80: Target(host="h", port=1)},
        decisions=Target(host="orchestrator", port=8087),
        pages="/pages.sock",
        subnets="10.0.0.0/16",
        names_port=53,
        private_networks=("192.168.0.0/16",),
        token="secret",
    )
    assert "secret" not in config.encoded()
    assert decoded(config.encoded(), "secret") == config
    assert "only_subnets" not in config.encoded()


def test_every_question_about_a_name_is_answered_with_no() -> None:
    query = bytes.fromhex("1234 0100 0001 0000 0000 0001") + b"\x03git\x07example\x00\x00\x1c\x00\x01" + b"edns"
    response = answer(query)
    assert response is not None
    assert response[:12] == bytes.fromhex("1234 8183 0001 0000 0000 0000")
    assert response[12:] == b"\x03git\x07example\x00\x00\x1c\x00\x01"


@pytest.mark.parametrize(
    "query", [b"", b"x" * 12, bytes.fromhex("1234 8183 0001 0000 0000 0000") + b"\x00\x00\x01\x00\x01"]
)
def test_what_is_no_question_is_not_answered(query: bytes) -> None:
    assert answer(query) is None
    assert answer(bytes.fromhex("1234 0100 0001 0000 0000 0000") + query + b"\xff") is None

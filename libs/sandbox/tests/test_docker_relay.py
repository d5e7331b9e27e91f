"""The sockets that this process and the proxy share, with the proxy beside us instead of in a container."""

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from runyard_sandbox import ProvisionFailed
from runyard_sandbox.docker import Forward, NetworkSettings
from runyard_sandbox.docker.pages import Pages
from runyard_sandbox.docker.relay import PAGES, Relay
from runyard_sandbox.proxy.config import ProxyConfig, Target
from runyard_sandbox.proxy.server import ProxyServer

SANDBOX = "127.0.0.2"
USER = "10001:10001"


@dataclass
class Both:
    """Our side and the proxy's."""

    relay: Relay
    proxy: ProxyServer
    folder: Path
    inside: int
    """A port of the sandbox at which every line comes back."""


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(await reader.readline())
    await writer.drain()
    writer.close()


def settings(folder: Path, *, ports: tuple[int, int] = (5000, 8999)) -> NetworkSettings:
    decisions = Forward(8087, "127.0.0.1", 1)
    return NetworkSettings(forwards=(), decisions=decisions, relay_folder=folder, page_ports=ports)


@pytest.fixture(name="both")
async def _both(tmp_path: Path) -> AsyncIterator[Both]:
    # Longer than a socket's path may be.
    folder = tmp_path / ("long" * 30)
    service = await asyncio.start_server(_echo, "127.0.0.1", 0)
    sandbox = await asyncio.start_server(_echo, SANDBOX, 0)
    relay = Relay(folder, {"4222": Target(host="127.0.0.1", port=service.sockets[0].getsockname()[1])})
    await relay.start(USER)
    short = tmp_path / "out"
    short.symlink_to(relay.outward)
    (tmp_path / "in").symlink_to(relay.inward)
    proxy = ProxyServer(
        ProxyConfig(
            forwards={0: Target(path=str(tmp_path / "in" / "4222.sock"))},
            decisions=Target(path="none"),
            pages=str(short / PAGES),
            subnets=f"{SANDBOX}/32",
            only_subnets=False,
            egress_port=0,
        )
    )
    assert not await relay.proxy_listens()
    await proxy.start("127.0.0.1")
    yield Both(relay, proxy, folder, sandbox.sockets[0].getsockname()[1])
    await proxy.close()
    await relay.close()
    service.close()
    sandbox.close()


async def said_back(port: int, line: bytes = b"hello\n") -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(line)
    try:
        return await asyncio.wait_for(reader.read(), 20)
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def test_a_service_on_loopback_is_reached_through_both(both: Both) -> None:
    assert await both.relay.proxy_listens()
    assert [await said_back(both.proxy.ports[0]) for _ in range(20)] == [b"hello\n"] * 20


async def test_the_folder_is_private(both: Both) -> None:
    assert both.folder.stat().st_mode & 0o777 == 0o700


async def test_a_restarted_process_serves_the_same_sockets(both: Both) -> None:
    await both.relay.close()
    assert await said_back(both.proxy.ports[0]) == b""
    await both.relay.start(USER)
    await both.relay.start(USER)
    assert await said_back(both.proxy.ports[0]) == b"hello\n"


async def test_a_page_gets_the_port_that_it_has_inside_or_the_next_free(both: Both) -> None:
    pages = Pages(both.relay, settings(both.folder))
    taken = socket.create_server(("127.0.0.1", 0))
    busy = taken.getsockname()[1]
    pages = Pages(both.relay, settings(both.folder, ports=(busy, busy + 50)))
    given = await pages.give("a", SANDBOX, [busy, 80], taken=[busy + 1])
    assert busy not in given.values()
    assert busy + 1 not in given.values()
    assert len(set(given.values())) == 2
    pages.close_all()
    taken.close()
    assert await pages.give("a", SANDBOX, [busy], taken=[]) == {busy: busy}
    pages.close_all()


async def test_a_page_is_reached_until_its_sandbox_is_gone(both: Both) -> None:
    pages = Pages(both.relay, settings(both.folder))
    here = (await pages.give("a", SANDBOX, [both.inside], taken=[]))[both.inside]
    assert await said_back(here) == b"hello\n"
    await pages.follow({"a": (SANDBOX, {both.inside: here})})
    assert await said_back(here) == b"hello\n"
    await pages.follow({})
    with pytest.raises(ConnectionRefusedError):
        await said_back(here)
    await pages.follow({"a": (SANDBOX, {both.inside: here})})
    assert await said_back(here) == b"hello\n"
    pages.close_all()


async def test_a_port_stays_open_while_its_sandbox_is_still_being_made(both: Both) -> None:
    pages = Pages(both.relay, settings(both.folder))
    here = (await pages.give("a", SANDBOX, [both.inside], taken=[]))[both.inside]
    await pages.follow({})
    assert await said_back(here) == b"hello\n"
    pages.close_all()


async def test_a_page_that_does_not_answer_yet_ends_the_connection_at_once(both: Both) -> None:
    pages = Pages(both.relay, settings(both.folder))
    here = await pages.give("a", SANDBOX, [1], taken=[])
    assert await said_back(here[1]) == b""
    here = await pages.give("a", "127.0.0.3", [both.inside], taken=[])
    assert await said_back(here[both.inside]) == b""
    pages.close_all()


async def test_when_every_port_is_taken_it_is_said(both: Both) -> None:
    pages = Pages(both.relay, settings(both.folder, ports=(5000, 5001)))
    with pytest.raises(ProvisionFailed):
        await pages.give("a", SANDBOX, [80], taken=[5000, 5001])

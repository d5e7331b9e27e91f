"""Whether a page answers is found out in time, whatever is served there."""

import asyncio
import contextlib
import socket

import pytest

from runyard_orchestrator.adapters.preview_pages import PreviewPages, is_free


async def test_a_page_that_comes_byte_by_byte_is_not_waited_for_without_end() -> None:
    """Who looks at a preview could otherwise never stop it."""

    async def drip(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.05)

    pages = PreviewPages(timeout_seconds=0.3)
    async with await asyncio.start_server(drip, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with asyncio.timeout(20):
            assert await pages.answering(f"127.0.0.1:{port}", 1) is None
    await pages.close()


@pytest.mark.parametrize(("family", "address"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_a_port_that_somebody_has_by_either_address_is_not_free(family: socket.AddressFamily, address: str) -> None:
    """Whoever answers there would be shown as the preview's page."""
    try:
        other = socket.create_server((address, 0), family=family)
    except OSError:
        pytest.skip(f"this host has no {address}")
    with other:
        port = other.getsockname()[1]
        assert not is_free(port)
    assert is_free(port)

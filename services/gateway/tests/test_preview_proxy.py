"""The reverse proxy in front of previews: what goes through, and what stays out."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import aiohttp
import pytest

from runyard_chassis import Tokens
from runyard_gateway.previews.addresses import PreviewAddresses
from runyard_gateway.previews.cookies import for_preview, from_preview
from runyard_stack.embedded.ports import free_port

from .sites import HTML, ID, SECRET, TENANT, Site, site

__all__ = ["site"]


async def test_the_program_is_asked_at_localhost_and_gets_nothing_of_the_platform(site: Site) -> None:
    platform = Tokens(SECRET).mint(tenant=TENANT, user="ada")
    headers = {
        "Cookie": f"own=1; {site.cookie()}; runyard_session=s; theirs=2",
        "Authorization": f"Bearer {platform}",
        "X-Forwarded-For": "6.6.6.6",
        "X-Forwarded-Host": "evil.example",
        "Forwarded": "for=6.6.6.6",
        "Connection": "keep-alive, X-Secret-Hop",
        "X-Secret-Hop": "1",
        "X-Own": "kept",
    }
    async with site.request("/echo/a%2Fb%20c?q=%7Bx%7D&q=2", headers=headers) as answer:
        told = await answer.json()
    got = told["headers"]
    assert told["target"] == "/echo/a%2Fb%20c?q=%7Bx%7D&q=2"
    inner = site.book.previews[ID].port
    assert got["host"] == [f"localhost:{inner}"]
    assert got["cookie"] == ["own=1; theirs=2"]
    assert got["x-forwarded-for"] == ["127.0.0.1"]
    assert got["x-forwarded-host"] == [site.host]
    assert got["x-forwarded-proto"] == ["http"]
    assert got["x-own"] == ["kept"]
    assert not {"authorization", "forwarded", "x-secret-hop"} & got.keys()


async def test_a_token_of_the_program_s_own_goes_through(site: Site) -> None:
    for value in ("Bearer not-ours", "Basic dXNlcjpwYXNz"):
        async with site.request("/echo/x", headers={"Authorization": value}) as answer:
            assert (await answer.json())["headers"]["authorization"] == [value]


async def test_a_form_of_its_own_page_is_taken_and_one_of_another_site_is_not(site: Site) -> None:
    origin = f"http://{site.host}"
    own = {"Origin": origin, "Referer": f"{origin}/form?a=1", "Sec-Fetch-Site": "same-origin"}
    async with site.request("/echo/x", method="POST", data=b"a=1", headers=own) as answer:
        told = await answer.json()
    inner = f"http://localhost:{site.book.previews[ID].port}"
    assert told["body"] == "a=1"
    assert told["headers"]["origin"] == [inner]
    assert told["headers"]["referer"] == [f"{inner}/form?a=1"]
    assert "x-forwarded-host" not in told["headers"]
    for foreign in (
        {"Origin": "http://evil.example"},
        {"Origin": "http://other.preview.localhost"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"},
        {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors"},
    ):
        async with site.request("/echo/x", method="POST", headers=foreign) as answer:
            assert answer.status == 403
    async with site.request(
        "/echo/x", headers={"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    ) as answer:
        assert answer.status == 200


async def test_the_program_sets_its_own_cookies_for_its_own_host_only(site: Site) -> None:
    async with site.request("/cookies") as answer:
        assert answer.headers.getall("Set-Cookie") == ["own=1; Path=/; HttpOnly"]
        assert not {"Clear-Site-Data", "X-Frame-Options", "Keep-Alive"} & set(answer.headers)
        assert answer.headers["X-Robots-Tag"] == "noindex"


def test_cookies_are_told_apart_by_name_whatever_their_letters() -> None:
    assert for_preview("a=1; __host-RUNYARD-preview=x; RunYard=1; b; =c") == "a=1; b=; =c"
    assert from_preview("__HOST-Runyard-preview=1") is None
    assert from_preview("a=1; DOMAIN=x; Secure") == "a=1; Secure"
    assert from_preview("=runyard") is None


async def test_a_redirect_to_itself_leads_to_the_public_address(site: Site) -> None:
    async with site.request("/away") as answer:
        assert answer.headers["Location"] == f"http://{site.host}/there?x=1"


async def test_an_answer_is_passed_on_as_it_comes_and_ended_when_the_browser_goes(site: Site) -> None:
    async with site.request("/drip") as answer:
        assert await answer.content.readany() == b"first"
        answer.close()
    await asyncio.wait_for(site.program.state.ended.wait(), 20)


async def test_an_upload_is_passed_on_in_parts_and_a_too_large_one_is_refused(site: Site) -> None:
    async def parts(count: int) -> AsyncIterator[bytes]:
        for _ in range(count):
            yield b"x" * 10_000

    async with site.request("/upload", method="POST", data=parts(15)) as answer:
        assert await answer.text() == "150000"
    async with site.request("/upload", method="POST", data=parts(30)) as answer:
        assert answer.status == 413


async def test_an_origin_that_is_none_is_another_site_s(site: Site) -> None:
    async with site.request("/echo/x", method="POST", headers={"Origin": "http://["}) as answer:
        assert answer.status == 403


async def test_a_socket_goes_through_with_its_subprotocol_and_both_ways(site: Site) -> None:
    async with site.socket(protocols=["other", "vite-hmr"], headers={"Origin": f"http://{site.host}"}) as socket:
        assert socket.protocol == "vite-hmr"
        told = await socket.receive_json()
        inner = site.book.previews[ID].port
        assert told["host"] == f"localhost:{inner}"
        assert told["origin"] == f"http://localhost:{inner}"
        assert "cookie" not in told
        await socket.send_str("hello")
        assert await socket.receive_str() == "HELLO"
        await socket.send_bytes(b"abc")
        assert await socket.receive_bytes() == b"cba"
        await socket.send_str("bye")
        message = await socket.receive()
        assert (message.type, message.data, message.extra) == (aiohttp.WSMsgType.CLOSE, 4321, "enough")


@pytest.mark.parametrize(("headers", "status"), [({"Cookie": ""}, 401), ({"Origin": "http://evil.example"}, 403)])
async def test_a_socket_of_somebody_else_is_refused(site: Site, headers: dict[str, str], status: int) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await site.socket(headers=headers)
    assert refused.value.status == status


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        ("requested", 503, "Its files are being prepared"),
        ("starting", 503, 'http-equiv="refresh"'),
        ("failed", 502, "&lt;b&gt;boom&lt;/b&gt;"),
        ("stopped", 503, "The preview is stopped"),
        ("deleted", 410, "deleted"),
    ],
)
async def test_a_preview_that_is_not_there_says_why(site: Site, status: str, code: int, words: str) -> None:
    site.book.now(status=status, message="It ended with 1.", log_tail=("<b>boom</b>",))
    async with site.request("/", headers=HTML) as answer:
        text = await answer.text()
        assert (answer.status, words in text) == (code, True)
        assert "<b>boom" not in text
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


async def test_a_program_that_does_not_answer_is_a_page_that_asks_again(site: Site) -> None:
    port = free_port()
    site.book.now(address=f"127.0.0.1:{port}", port=port)
    async with site.request("/", headers=HTML) as answer:
        assert answer.status == 502
        assert "does not answer" in await answer.text()
    with pytest.raises(aiohttp.WSServerHandshakeError):
        await site.socket()


UPGRADE = (
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


@pytest.mark.parametrize("upgrade", ["", UPGRADE])
@pytest.mark.parametrize("target", ["*@127.0.0.1:{other}/secret", "*", "http://x@127.0.0.1:{other}/secret"])
async def test_a_path_cannot_go_on_with_the_name_of_another_host(site: Site, target: str, upgrade: str) -> None:
    """Somebody with a preview of his own could otherwise read whatever the gateway reaches: a metadata service."""
    asked: list[bytes] = []

    async def internal(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readline())
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nSECRET")
        writer.close()

    async with await asyncio.start_server(internal, "127.0.0.1", 0) as server:
        line = target.format(other=server.sockets[0].getsockname()[1])
        reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
        head = f"GET {line} HTTP/1.1\r\nHost: {site.host}\r\nCookie: {site.cookie()}\r\n{upgrade}\r\n"
        writer.write(head.encode())
        answer = await asyncio.wait_for(reader.read(200), 10)
        writer.close()

    assert asked == []
    assert b"SECRET" not in answer
    assert b" 500 " not in answer.splitlines()[0]


async def test_a_preview_takes_only_so_many_requests_at_once(site: Site) -> None:
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(8):
            answer = await stack.enter_async_context(site.request("/drip"))
            await answer.content.readany()
        async with site.request("/echo/x") as answer:
            assert answer.status == 503
            assert (await answer.json())["type"] == "preview-busy"


async def test_the_api_is_not_to_be_had_on_a_preview_s_host_nor_a_preview_on_the_api_s(site: Site) -> None:
    async with site.request("/health") as answer:
        assert answer.status == 404
    for host in (f"127.0.0.1:{site.port}", "localhost", f"preview.localhost.evil.example:{site.port}"):
        async with site.request("/health", headers={"Host": host}) as answer:
            assert await answer.json() == {"status": "ok"}
    for host in ("preview.localhost", f"a.b.preview.localhost:{site.port}", "-.preview.localhost"):
        async with site.request("/health", headers={"Host": host}) as answer:
            assert answer.status == 401


@pytest.mark.parametrize(
    ("domain", "scheme", "port", "origin", "secure"),
    [
        ("preview.localhost", "http", 9101, "http://x.preview.localhost:9101", True),
        ("preview.example.com", "https", None, "https://x.preview.example.com", True),
        ("preview.example.com", "https", 8443, "https://x.preview.example.com:8443", True),
        ("preview.lan", "http", 80, "http://x.preview.lan", False),
    ],
)
def test_addresses(domain: str, scheme: str, port: int | None, origin: str, *, secure: bool) -> None:
    addresses = PreviewAddresses(domain, scheme, port)
    assert addresses.origin("x") == origin
    assert addresses.is_secure is secure
    assert addresses.preview_of(urlsplit(origin).netloc.upper()) == "x"

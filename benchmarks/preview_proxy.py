"""(p1) The previews' proxy: what it adds to a request, against asking the program itself.

The program, the gateway's layer and the callers are processes of their own; bodies of 20 KB.
"""

import asyncio
import multiprocessing
import statistics
import time
from collections.abc import Callable
from datetime import datetime

import aiohttp
import uvicorn
import uvloop
from fastapi import FastAPI
from starlette.types import Receive, Scope, Send

from runyard_chassis import create_app
from runyard_chassis.settings import ServiceSettings
from runyard_gateway.previews.access import Access, Seen
from runyard_gateway.previews.addresses import PreviewAddresses
from runyard_gateway.previews.exchange import Limits, new_session
from runyard_gateway.previews.layer import PreviewHosts, Proxy
from runyard_gateway.previews.passes import Holder, Passes, expiry
from runyard_stack.embedded.ports import free_port

BODY = b"x" * 20_000
SECRET = "a-key-for-benchmarks-that-is-long-enough"  # noqa: S105
ID, TENANT = "bench", "tenant"
ROUNDS, CONNECTIONS = 1000, 16


class Book:
    """One preview that is always ready."""

    def __init__(self, port: int) -> None:
        self._seen = Seen(ID, TENANT, "ready", port, f"127.0.0.1:{port}", None, None, ())

    async def seen(self, preview_id: str) -> Seen | None:
        """The preview."""
        return self._seen if preview_id == ID else None

    async def share_expiry(self, preview_id: str, share_id: str) -> datetime | None:  # noqa: ARG002
        """There are no shares."""
        return None

    async def use_ticket(self, ticket: str, expires: datetime) -> bool:  # noqa: ARG002
        """Every link is new."""
        return True


async def program(scope: Scope, receive: Receive, send: Send) -> None:
    """What the preview serves."""
    if scope["type"] == "http":
        headers = [(b"content-length", b"%d" % len(BODY)), (b"content-type", b"text/html")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": BODY})
    else:
        await receive()


def serve_program(port: int) -> None:
    """In a process of its own."""
    uvicorn.run(program, port=port, log_level="error", access_log=False, lifespan="off")


def serve_proxy(port: int, target: int) -> None:
    """The same for the layer before the gateway's API."""

    async def main() -> None:
        app: FastAPI = create_app("gateway", settings=ServiceSettings(log_level="ERROR"))
        addresses, limits = PreviewAddresses("preview.localhost", "http", port), Limits()
        app.add_middleware(PreviewHosts, addresses=addresses)
        access = Access(Book(target), Passes(SECRET))
        async with new_session(limits) as session:
            app.state.preview_proxy = Proxy(addresses, access, session, limits, app.state.stopping, 3600, {})
            await uvicorn.Server(uvicorn.Config(app, port=port, log_level="error", access_log=False)).serve()

    uvloop.run(main())


async def measure(session: aiohttp.ClientSession, url: str, headers: dict[str, str]) -> tuple[float, float, float]:
    """p50 and p90 in milliseconds on one connection, requests a second on several."""

    async def ask() -> float:
        began = time.perf_counter()
        async with session.get(url, headers=headers) as answer:
            assert len(await answer.read()) == len(BODY)
        return (time.perf_counter() - began) * 1000

    for _ in range(100):
        await ask()
    taken = sorted([await ask() for _ in range(ROUNDS)])

    async def several() -> None:
        for _ in range(ROUNDS // CONNECTIONS):
            await ask()

    began = time.perf_counter()
    await asyncio.gather(*(several() for _ in range(CONNECTIONS)))
    rate = ROUNDS // CONNECTIONS * CONNECTIONS / (time.perf_counter() - began)
    return statistics.median(taken), taken[int(ROUNDS * 0.9)], rate


async def until_listening(session: aiohttp.ClientSession, url: str, headers: dict[str, str]) -> None:
    """Waits for a server."""
    async with asyncio.timeout(20):
        while True:
            try:
                async with session.get(url, headers=headers):
                    return
            except aiohttp.ClientError:
                await asyncio.sleep(0.05)


async def main() -> None:
    """Measures both and prints them."""
    inner, outer = free_port(), free_port()
    jobs: list[tuple[Callable[..., None], tuple[int, ...]]] = [(serve_program, (inner,)), (serve_proxy, (outer, inner))]
    processes = [multiprocessing.Process(target=target, args=args, daemon=True) for target, args in jobs]
    for process in processes:
        process.start()
    cookie = Passes(SECRET).mint("cookie", Holder(TENANT, ID, "ada"), expiry(3600))
    through = {"Host": f"{ID}.preview.localhost:{outer}", "Cookie": f"__Host-runyard-preview={cookie}"}
    try:
        async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
            found: dict[str, tuple[float, float, float]] = {}
            ways: list[tuple[str, int, dict[str, str]]] = [("direct", inner, {}), ("proxied", outer, through)]
            for name, port, headers in ways:
                await until_listening(session, f"http://127.0.0.1:{port}/", headers)
                found[name] = await measure(session, f"http://127.0.0.1:{port}/", headers)
    finally:
        for process in processes:
            process.terminate()
    for name, (p50, p90, rate) in found.items():
        print(f"{name:8} p50 {p50:.2f} ms  p90 {p90:.2f} ms  {rate:,.0f} requests/s at {CONNECTIONS} connections")
    print(f"the proxy adds {found['proxied'][0] - found['direct'][0]:.2f} ms (p50)")


if __name__ == "__main__":
    asyncio.run(main())

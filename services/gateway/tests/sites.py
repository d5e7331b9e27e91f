"""A gateway with one preview, rows that a test writes by hand, and a browser of sorts."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, cast

import aiohttp
import httpx
import pytest_asyncio
from fastapi import FastAPI
from starlette.applications import Starlette

from runyard_chassis import Service, create_app, serve
from runyard_chassis.settings import ServiceSettings
from runyard_gateway.previews.access import Access, Seen
from runyard_gateway.previews.addresses import PreviewAddresses
from runyard_gateway.previews.exchange import Limits, new_session
from runyard_gateway.previews.layer import PreviewHosts, Proxy
from runyard_gateway.previews.passes import Holder, Passes, expiry
from runyard_stack.embedded.ports import free_port

from .conftest import Running
from .preview_program import program

SECRET = "a-key-for-tests-that-is-long-enough-to-be-one"
ID = "0f3c1c1e-6f0a-4a51-9f6a-0d9f3b6f2c11"
TENANT = "tenant-1"
HTML = {"Accept": "text/html"}
COOKIE = "__Host-runyard-preview"
NOBODY = "127.0.0.1:9"
"""Where nobody answers."""


@dataclass
class Book:
    """Rows that a test writes by hand."""

    previews: dict[str, Seen] = field(default_factory=dict[str, Seen])
    shares: dict[str, datetime] = field(default_factory=dict[str, datetime])
    used: set[str] = field(default_factory=set[str])
    fault: Exception | None = None
    failed: asyncio.Event = field(default_factory=asyncio.Event)

    async def seen(self, preview_id: str) -> Seen | None:
        if self.fault is not None:
            self.failed.set()
            raise self.fault
        return self.previews.get(preview_id)

    async def share_expiry(self, preview_id: str, share_id: str) -> datetime | None:
        return self.shares.get(share_id) if preview_id == ID else None

    async def use_ticket(self, ticket: str, expires: datetime) -> bool:
        if ticket in self.used or expires < datetime.now(UTC):
            return False
        self.used.add(ticket)
        return True

    def now(self, **values: Any) -> None:
        self.previews[ID] = replace(self.previews[ID], **values)


@contextlib.asynccontextmanager
async def _serving(service: Service) -> AsyncGenerator[None]:
    stop, ready = asyncio.Event(), asyncio.Event()
    task = asyncio.create_task(serve(service, stop, on_ready=ready.set))
    await ready.wait()
    try:
        yield
    finally:
        stop.set()
        await task


@dataclass
class Site:
    """A gateway with one preview, and a browser of sorts."""

    book: Book
    passes: Passes
    port: int
    browser: aiohttp.ClientSession
    program: Starlette

    @property
    def host(self) -> str:
        return f"{ID}.preview.localhost:{self.port}"

    def cookie(self, **holder: Any) -> str:
        held = Holder(**{"tenant": TENANT, "preview": ID, "user": "ada", **holder})
        return f"{COOKIE}={self.passes.mint('cookie', held, expiry(60))}"

    def request(self, path: str, *, method: str = "GET", pass_: str | None = None, **options: Any) -> Any:
        headers = {"Host": self.host, "Cookie": self.cookie() if pass_ is None else pass_, **options.pop("headers", {})}
        url = f"http://127.0.0.1:{self.port}{path}"
        return self.browser.request(method, url, headers=headers, allow_redirects=False, **options)

    def socket(self, **options: Any) -> Any:
        headers = {"Host": self.host, "Cookie": self.cookie(), **options.pop("headers", {})}
        connect = cast("Any", self.browser).ws_connect
        return connect(f"http://127.0.0.1:{self.port}/socket", headers=headers, **options)


@pytest_asyncio.fixture
async def site() -> AsyncIterator[Site]:
    """A gateway's app with the layer before it, and a program behind a preview."""
    inner, outer = free_port(), free_port()
    behind, book, passes = program(), Book(), Passes(SECRET)
    book.previews[ID] = Seen(ID, TENANT, "ready", inner, f"127.0.0.1:{inner}", "Vite", None, ())
    app = create_app("gateway", settings=ServiceSettings())
    addresses = PreviewAddresses("preview.localhost", "http", outer)
    app.add_middleware(PreviewHosts, addresses=addresses)
    limits = Limits(body_bytes=200_000, first_byte_seconds=5, at_once=8)
    async with (
        _serving(Service("program", cast("FastAPI", behind), "127.0.0.1", inner, 1)),
        _serving(Service("gateway", app, "127.0.0.1", outer, 1)),
        new_session(limits) as session,
        aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as browser,
    ):
        app.state.preview_proxy = Proxy(
            addresses, Access(book, passes, seconds=0), session, limits, app.state.stopping, 3600, {}
        )
        yield Site(book, passes, outer, browser, behind)


async def visited(gateway: Running, visitor: Holder) -> str:
    """The type of the problem that a visitor of a preview is told."""
    host = gateway.parts.preview_addresses.origin(visitor.preview).removeprefix("http://")
    headers = {"Host": host, "Cookie": f"{COOKIE}={gateway.parts.passes.mint('cookie', visitor, expiry(60))}"}
    async with httpx.AsyncClient(base_url=gateway.url, trust_env=False, timeout=20) as browser:
        return (await browser.get("/", headers=headers)).json()["type"]

"""What the gateway's tests stand on: a strict fake upstream, the service on a real port, tokens."""

import asyncio
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from pydantic import SecretStr

from runyard_chassis import LLM_AUDIENCE, Service, Tokens, serve
from runyard_events import EventLog, StoredEvent, connect
from runyard_events.subjects import run_subject
from runyard_llm_gateway.app import build
from runyard_llm_gateway.settings import LlmGatewaySettings
from runyard_stack.testing import SecuredNats

RUN_KEY = "run-key-of-the-tests-0123456789abcdef"
JWT_KEY = "jwt-key-of-the-tests-0123456789abcdef"
CANARY = "canary-provider-key-5f1d9c27b3"
PROVIDER_KEYS = ("openai_api_key", "codex_api_key", "anthropic_api_key", "gemini_api_key", "google_api_key")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@dataclass
class Seen:
    """A request as the upstream received it."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Upstream:
    """A provider that answers as a test tells it and notes what it was sent."""

    url: str = ""
    handler: Handler | None = None
    seen: list[Seen] = field(default_factory=list[Seen])
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    dropped: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.seen.append(
            Seen(request.method, request.path_qs, {k.lower(): v for k, v in request.headers.items()}, body)
        )
        self.asked.set()
        assert self.handler is not None, "the test expects no call"
        try:
            return await self.handler(request)
        except (asyncio.CancelledError, ConnectionError):
            self.dropped.set()
            raise

    def streams(self, *chunks: bytes, cut: bool = False, hold: bool = False) -> None:
        """Answers with a stream of these chunks; then ends, breaks off, or keeps silent."""

        async def handler(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse(headers={"content-type": "text/event-stream", "x-upstream": "yes"})
            await response.prepare(request)
            for chunk in chunks:
                await response.write(chunk)
            if hold:
                await asyncio.sleep(3600)
            if cut:
                assert request.transport is not None
                request.transport.close()
            return response

        self.handler = handler

    def answers(self, body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> None:
        """Answers in one piece."""

        async def handler(_request: web.Request) -> web.StreamResponse:
            return web.Response(
                body=body, status=status, headers={"content-type": "application/json"} | (headers or {})
            )

        self.handler = handler


@pytest_asyncio.fixture
async def upstream() -> AsyncGenerator[Upstream]:
    fake = Upstream()
    app = web.Application(client_max_size=1 << 28)
    app.router.add_route("*", "/{path:.*}", fake.answer)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    fake.url = f"http://127.0.0.1:{port}"
    yield fake
    await runner.cleanup()


@dataclass(frozen=True)
class Gateway:
    """The service as a caller sees it, and a way to read what it wrote."""

    url: str
    tenant: str
    log: EventLog
    session: str = "session-1"
    run: str = "run-1"

    @property
    def token(self) -> str:
        return run_tokens().mint(tenant=self.tenant, session=self.session, run=self.run)

    @property
    def user_token(self) -> str:
        return Tokens(JWT_KEY).mint(tenant=self.tenant, user="user-1", role="admin")

    async def events(self, count: int = 1) -> list[StoredEvent]:
        """The ledger's first events of the run."""
        found: list[StoredEvent] = []
        async with asyncio.timeout(20):
            async for event in self.log.follow(run_subject(self.tenant, self.session, self.run, "llm"), from_seq=1):
                found.append(event)
                if len(found) == count:
                    return found
        raise AssertionError("follow() never ends by itself")

    async def payload(self) -> Any:
        """The payload of the run's first ledger event."""
        return (await self.events())[0].event.payload


def run_tokens(key: str = RUN_KEY, audience: str = LLM_AUDIENCE) -> Tokens:
    return Tokens(key, audience)


@asynccontextmanager
async def serving(service: Service) -> AsyncGenerator[Service]:
    """The service on its port until the block ends."""
    stop, ready = asyncio.Event(), asyncio.Event()
    task = asyncio.create_task(serve(service, stop, on_ready=ready.set))
    waiting = asyncio.create_task(ready.wait())
    try:
        await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
        yield service
    finally:
        waiting.cancel()
        stop.set()
        await task


@pytest_asyncio.fixture
async def as_deployed(
    secured_nats: SecuredNats, database_url: str, tenant: str
) -> AsyncGenerator[tuple[Gateway, EventLog]]:
    """The gateway as a NATS user with its own subjects only, and the log as its orchestrator sees it."""
    chosen = LlmGatewaySettings(
        nats_url=secured_nats.url,
        nats_user="llm-gateway",
        nats_password=SecretStr(secured_nats.passwords["llm-gateway"]),
        database_url=SecretStr(database_url),
        port=free_port(),
        run_token_key=SecretStr(RUN_KEY),
        jwt_secret_key=SecretStr(JWT_KEY),
    )
    password = secured_nats.passwords["orchestrator"]
    client = await connect(secured_nats.url, service="orchestrator", user="orchestrator", password=password)
    async with serving(build(chosen)) as service:
        yield Gateway(service.url, tenant, EventLog(client)), EventLog(client)
    await client.close()


Start = Callable[..., Awaitable[Gateway]]


@pytest_asyncio.fixture
async def start(nats_url: str, database_url: str, event_log: EventLog, tenant: str) -> AsyncGenerator[Start]:
    """Starts the gateway with further settings."""
    async with AsyncExitStack() as stack:

        async def started(**settings: Any) -> Gateway:
            chosen = LlmGatewaySettings(
                _env_file=None,  # pyright: ignore[reportCallIssue]
                nats_url=nats_url,
                database_url=SecretStr(database_url),
                port=free_port(),
                run_token_key=SecretStr(RUN_KEY),
                jwt_secret_key=SecretStr(JWT_KEY),
                **(dict.fromkeys(PROVIDER_KEYS) | settings),
            )
            service = await stack.enter_async_context(serving(build(chosen)))
            return Gateway(service.url, tenant, event_log)

        yield started


@pytest_asyncio.fixture
async def offline(start: Start) -> Gateway:
    """The gateway without any provider key."""
    return await start()


@pytest_asyncio.fixture
async def keyed(start: Start, upstream: Upstream) -> Gateway:
    """The gateway with keys, its providers being the fake upstream."""
    return await start(
        openai_api_key=SecretStr(CANARY),
        openai_base_url=f"{upstream.url}/v1",
        anthropic_api_key=SecretStr(CANARY),
        anthropic_base_url=upstream.url,
        gemini_api_key=SecretStr(CANARY),
        google_gemini_base_url=upstream.url,
        idle_timeout_seconds=2,
        first_byte_timeout_seconds=2,
    )


@pytest.fixture
def expired_token(tenant: str) -> str:
    return run_tokens().mint(tenant=tenant, session="s", run="r", lifetime=timedelta(seconds=-60))

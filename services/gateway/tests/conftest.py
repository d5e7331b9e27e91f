"""A gateway on real servers, the log's writer, and owners that carry out its commands with real events."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import urlsplit

import httpx
import pytest
import pytest_asyncio
from pydantic import SecretStr

from runyard_chassis import Tokens, serve
from runyard_events.catalogue import AnyPayload
from runyard_events.log import EventLog
from runyard_events.subjects import Scope
from runyard_events.writer import Writer
from runyard_gateway.app import build
from runyard_gateway.gateway import Gateway
from runyard_gateway.settings import Settings
from runyard_stack.embedded.ports import free_port

from .clients import SseClient
from .owners import Owners, serving

KEY = "a-key-for-tests-that-is-long-enough-to-be-one"


@dataclass(frozen=True)
class Running:
    """A gateway that answers, and how to call it."""

    url: str
    parts: Gateway
    tokens: Tokens
    stop: asyncio.Event
    stopped: "asyncio.Task[None]"

    def token(self, tenant: str, user: str = "ada") -> str:
        return self.tokens.mint(tenant=tenant, user=user, role="admin", lifetime=timedelta(hours=1))

    def client(self, tenant: str) -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {self.token(tenant)}"}
        return httpx.AsyncClient(base_url=self.url, headers=headers, timeout=20, trust_env=False)

    def stream(self, path: str, tenant: str, **headers: str) -> SseClient:
        """A raw SSE client; headers with underscores for hyphens."""
        parts = urlsplit(self.url)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return SseClient(parts.hostname or "", parts.port or 0, path, self.token(tenant), named)


Start = Callable[..., contextlib.AbstractAsyncContextManager[Running]]


@pytest.fixture
def start_gateway(nats_url: str, database_url: str) -> Start:
    """Starts gateways on the same log and database, with settings of the test's choice."""

    @contextlib.asynccontextmanager
    async def start(**settings: object) -> AsyncGenerator[Running]:
        chosen = Settings.model_validate(
            {
                "nats_url": nats_url,
                "database_url": SecretStr(database_url),
                "jwt_secret_key": SecretStr(KEY),
                "port": free_port(),
                "environment": "test",
                "shutdown_grace_seconds": 3,
                **settings,
            }
        )
        service = build(chosen)
        stop, ready = asyncio.Event(), asyncio.Event()
        task = asyncio.create_task(serve(service, stop, on_ready=ready.set))
        waiting = asyncio.create_task(ready.wait())
        await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
        parts = service.app.state.gateway
        await parts.hub.live.wait()
        try:
            yield Running(service.url, parts, Tokens(KEY), stop, task)
        finally:
            stop.set()
            await task

    return start


@pytest_asyncio.fixture
async def gateway(start_gateway: Start) -> AsyncIterator[Running]:
    """A gateway that answers."""
    async with start_gateway() as running:
        yield running


@pytest_asyncio.fixture
async def api(gateway: Running, tenant: str) -> AsyncIterator[httpx.AsyncClient]:
    """The API as the test's tenant sees it."""
    async with gateway.client(tenant) as client:
        yield client


@dataclass
class Story:
    """Appends events of one tenant, as their owners do, numbered per aggregate and source."""

    log: EventLog
    tenant: str
    writers: dict[tuple[str, str], Writer]

    async def tell(self, scope: Scope, *payloads: AnyPayload, source: str = "orchestrator") -> int:
        """Appends in order and returns the sequence of the last."""
        key = (scope.aggregate_id, source)
        writer = self.writers.setdefault(key, Writer(self.log, scope=scope, source=source))
        events = [writer.stamp(payload) for payload in payloads]
        return await writer.write(events)

    def workspace(self, workspace: str) -> Scope:
        return Scope.workspace(self.tenant, workspace)

    def session(self, session: str) -> Scope:
        return Scope.session(self.tenant, session)

    def run(self, session: str, run: str) -> Scope:
        return Scope.run(self.tenant, session, run)

    def preview(self, preview: str) -> Scope:
        return Scope.preview(self.tenant, preview)

    def team(self) -> Scope:
        return Scope.team(self.tenant)


@pytest.fixture
def story(event_log: EventLog, tenant: str) -> Story:
    """The test's tenant's history."""
    return Story(event_log, tenant, {})


@pytest_asyncio.fixture
async def owners(event_log: EventLog, nats_url: str) -> AsyncIterator[Owners]:
    """Orchestrator and workspace, as far as the gateway sees them."""
    async with serving(event_log, nats_url) as working:
        yield working

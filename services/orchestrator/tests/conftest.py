"""The orchestrator on real servers, between neighbours that append real events."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from nats.aio.client import Client
from pydantic import SecretStr

from runyard_chassis import Service, Tokens
from runyard_events import CommandBus, CommandPayload, EventLog, Reply, StoredEvent, command, new_id
from runyard_events.commands import CreateSession, RequestRun
from runyard_events.subjects import run_everything, session_everything
from runyard_orchestrator.app import build
from runyard_orchestrator.settings import Settings
from runyard_sandbox import Provisioner

from .peers import FakeRunner, FakeWorkspace

KEY = "a-test-key-that-is-long-enough-for-hs256"


@asynccontextmanager
async def serving(settings: Settings, engine: Provisioner | None = None) -> AsyncGenerator[Service, None]:
    """The service, started and stopped as uvicorn would."""
    service = build(settings, engine)
    async with service.app.router.lifespan_context(service.app):
        yield service


@dataclass
class World:
    """Everything around a test: the service's settings, its neighbours, and ways to speak to it."""

    settings: Settings
    log: EventLog
    bus: CommandBus
    workspace: FakeWorkspace
    runner: FakeRunner
    tenant: str
    workspace_id: str

    async def ask(self, payload: CommandPayload, *, tenant: str | None = None, command_id: str | None = None) -> Reply:
        one = command(payload, tenant_id=tenant or self.tenant, actor="ada", command_id=command_id)
        return await self.bus.request(one, timeout=20)

    async def session(self, **fields: Any) -> str:
        """A session that is ready."""
        values: dict[str, Any] = {"workspace_id": self.workspace_id, "runner_type": "codex", **fields}
        asked = CreateSession.model_validate({"session_id": new_id(), **values})
        reply = await self.ask(asked)
        assert reply.ok, reply.problem
        return asked.session_id

    async def prompt(self, session_id: str, text: str = "List the files.", **fields: Any) -> str:
        """An accepted run."""
        values: dict[str, Any] = {"session_id": session_id, "run_id": new_id(), "prompt": text, **fields}
        asked = RequestRun.model_validate(values)
        reply = await self.ask(asked)
        assert reply.ok, reply.problem
        return asked.run_id

    async def events(self, session_id: str, run_id: str | None = None) -> list[StoredEvent]:
        """What the log holds about a session or a run."""
        subject = (
            session_everything(self.tenant, session_id)
            if run_id is None
            else run_everything(self.tenant, session_id, run_id)
        )
        return [stored async for stored in self.log.replay(subject)]

    async def types(self, session_id: str, run_id: str | None = None) -> list[str]:
        return [stored.event.type for stored in await self.events(session_id, run_id)]

    async def seen(self, session_id: str, event_type: str, *, count: int = 1, run_id: str | None = None) -> StoredEvent:
        """Waits until the log holds an event of this type."""
        async with asyncio.timeout(30):
            async for stored in self.log.follow(session_everything(self.tenant, session_id), from_seq=1):
                event = stored.event
                if event.type == event_type and run_id in (None, event.run_id):
                    count -= 1
                    if not count:
                        return stored
        raise AssertionError

    @asynccontextmanager
    async def http(self, service: Service) -> AsyncGenerator[httpx.AsyncClient, None]:
        token = Tokens(KEY).mint(tenant=self.tenant, user="ada", role="user")
        transport = httpx.ASGITransport(app=service.app)
        headers = {"Authorization": f"Bearer {token}"}
        async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers) as client:
            yield client


@pytest.fixture
def settings(nats_url: str, database_url: str) -> Settings:
    return Settings(
        nats_url=nats_url,
        database_url=SecretStr(database_url),
        jwt_secret_key=SecretStr(KEY),
        environment="test",
        port=0,
    )


@asynccontextmanager
async def among_neighbours(
    settings: Settings, client: Client, log: EventLog, tenant: str, workspace: FakeWorkspace
) -> AsyncGenerator[World, None]:
    """Everything but the service itself, with this workspace."""
    runner, workspace_id = FakeRunner(client, log), new_id()
    await workspace.imported(tenant, workspace_id)
    async with workspace.queue.running(), runner.queue.running():
        yield World(settings, log, CommandBus(client), workspace, runner, tenant, workspace_id)


@pytest.fixture
async def surroundings(
    settings: Settings, nats_client: Client, event_log: EventLog, tenant: str
) -> AsyncIterator[World]:
    """Everything but the service itself."""
    workspace = FakeWorkspace(nats_client, event_log)
    async with among_neighbours(settings, nats_client, event_log, tenant, workspace) as made:
        yield made


@pytest.fixture
async def world(surroundings: World) -> AsyncIterator[World]:
    """The service and its neighbours, running."""
    async with serving(surroundings.settings):
        yield surroundings


__all__ = ["World", "among_neighbours", "serving"]

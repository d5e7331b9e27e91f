"""Repositories to work on, and the service on real servers."""

import os
import subprocess
from collections.abc import AsyncGenerator, Generator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from nats.aio.client import Client
from pydantic import SecretStr

from runyard_chassis import Tokens
from runyard_events import (
    CommandBus,
    CommandPayload,
    EventLog,
    Reply,
    Scope,
    StoredEvent,
    Writer,
    command,
    new_id,
)
from runyard_events.catalogue import RunCompleted, RunRequested, RunStarted
from runyard_events.commands import ImportWorkspace, OpenWorktree
from runyard_workspace.app import build
from runyard_workspace.settings import Settings

from .remote_servers import GitHubServer, GitServer, git_server, github_server

KEY = "a-test-key-that-is-long-enough-for-hs256"
ENV = {
    "PATH": os.environ["PATH"],
    "HOME": "/nonexistent",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@example.com",
    "GIT_COMMITTER_NAME": "Ada",
    "GIT_COMMITTER_EMAIL": "ada@example.com",
    "GIT_ALLOW_PROTOCOL": "file",
}


def git(folder: Path, *args: str) -> str:
    """Runs Git as a person would, and returns what it prints."""
    done = subprocess.run(["git", *args], cwd=folder, env=ENV, check=True, capture_output=True)
    return os.fsdecode(done.stdout).strip()


def make_repository(folder: Path, files: dict[str, str | bytes] | None = None) -> Path:
    """A repository with one commit on `main`."""
    folder.mkdir(parents=True)
    git(folder, "init", "-q", "-b", "main")
    for name, content in (files or {"README.md": "# Hello\n", "src/app.py": "print('hi')\n"}).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "Begin")
    return folder


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with one commit."""
    return make_repository(tmp_path / "source")


@dataclass
class Running:
    """The service, started, and a client of everything it offers."""

    settings: Settings
    http: httpx.AsyncClient
    bus: CommandBus
    log: EventLog
    tenant: str
    tokens: Tokens = field(default_factory=lambda: Tokens(KEY))

    @property
    def root(self) -> Path:
        return self.settings.workspaces_root

    def headers(self, tenant: str | None = None) -> dict[str, str]:
        token = self.tokens.mint(tenant=tenant or self.tenant, user="ada", role="user")
        return {"Authorization": f"Bearer {token}"}

    async def ask(self, payload: CommandPayload, *, tenant: str | None = None, timeout: float = 30) -> Reply:  # noqa: ASYNC109
        return await self.bus.request(command(payload, tenant_id=tenant or self.tenant, actor="ada"), timeout=timeout)

    async def import_local(self, source: Path, workspace: str | None = None) -> str:
        workspace = workspace or new_id()
        reply = await self.ask(import_of(str(source), workspace))
        assert reply.ok, reply.problem
        return workspace

    async def open_session(self, workspace: str) -> tuple[str, Path]:
        session = new_id()
        reply = await self.ask(OpenWorktree(workspace_id=workspace, session_id=session))
        assert reply.ok, reply.problem
        return session, Path(reply.result["path"])

    async def session_of(self, source: Path) -> tuple[str, Path]:
        return await self.open_session(await self.import_local(source))

    async def finish_run(self, session: str, run: str | None = None, ending: Any = None) -> StoredEvent:
        """Writes the lifecycle of a run into the log, and waits for what the service says about its files."""
        run = run or new_id()
        scope = Scope.run(self.tenant, session, run)
        await Writer(self.log, scope=scope, source="orchestrator").append(
            RunRequested(prompt="do it", workspace_id="w", runner_type="codex")
        )
        runner = Writer(self.log, scope=scope, source="runner-codex.1")
        await runner.append(RunStarted(runner_id="r", attempt=1))
        await runner.append(ending or RunCompleted())
        async for stored in self.log.follow(scope.subject("effect"), from_seq=1):
            return stored
        raise AssertionError("unreachable")

    async def events(self, subject: str) -> list[StoredEvent]:
        return [stored async for stored in self.log.replay(subject)]


def import_of(uri: str, workspace: str, source_type: Any = "local", **more: Any) -> ImportWorkspace:
    return ImportWorkspace(workspace_id=workspace, source_type=source_type, source_uri=uri, display_name="a/b", **more)


def serve_dumb(repository: Path, folder: Path) -> Path:
    """A bare copy of a repository below a folder to be served over HTTP."""
    folder.mkdir()
    git(repository.parent, "clone", "-q", "--bare", str(repository), str(folder / "repo.git"))
    git(folder / "repo.git", "update-server-info")
    return folder


@pytest.fixture
def settings(tmp_path: Path, nats_url: str, database_url: str) -> Settings:
    return Settings(
        nats_url=nats_url,
        database_url=SecretStr(database_url),
        jwt_secret_key=SecretStr(KEY),
        workspaces_root=tmp_path / "workspaces",
        import_spare_mib=0,
        environment="test",
    )


@asynccontextmanager
async def running(settings: Settings, client: Client, tenant: str) -> AsyncGenerator[Running]:
    """The service in this process, until the end of the block."""
    async with AsyncExitStack() as stack:
        service = build(settings)
        await stack.enter_async_context(service.app.router.lifespan_context(service.app))
        transport = httpx.ASGITransport(app=service.app)
        http = await stack.enter_async_context(httpx.AsyncClient(transport=transport, base_url="http://workspace"))
        yield Running(settings, http, CommandBus(client), EventLog(client), tenant)


@pytest.fixture
async def service(settings: Settings, nats_client: Client, tenant: str) -> AsyncGenerator[Running]:
    async with running(settings, nats_client, tenant) as one:
        yield one


@pytest.fixture
def server(tmp_path: Path) -> Generator[GitServer]:
    with git_server(tmp_path / "served") as one:
        yield one


@pytest.fixture
def github() -> Generator[GitHubServer]:
    with github_server() as one:
        one.repositories.add("org/repo")
        one.branches.add("main")
        yield one


@pytest.fixture
async def remote(settings: Settings, nats_client: Client, tenant: str, github: GitHubServer) -> AsyncGenerator[Running]:
    own = settings.model_copy(update={"github_api_url": github.url, "sync_timeout_seconds": 20.0})
    async with running(own, nats_client, tenant) as one:
        yield one

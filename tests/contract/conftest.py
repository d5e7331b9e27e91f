"""All services of the product on embedded servers, in a thread of their own, with one of everything made."""

import asyncio
import subprocess
import threading
import uuid
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
from nats.aio.client import Client
from pydantic import SecretStr

from runyard_chassis import Service, Tokens, derive_key, serve
from runyard_chassis.tokens import SESSION_AUDIENCE, SESSION_KEY
from runyard_events import connect
from runyard_events.topology import EVENTS
from runyard_runner.service import build_runner
from runyard_runner.settings import RunnerSettings
from runyard_runner.testing import Say, StubAgent
from runyard_stack.embedded.databases import ensure_database
from runyard_stack.embedded.nats import NatsServer
from runyard_stack.embedded.ports import free_port
from runyard_stack.embedded.postgres import PostgresServer
from runyard_stack.services import PARTS, Part, load_build, load_settings_class
from runyard_stack.testing import declare_afresh

KEY = "a-key-for-tests-that-is-long-enough-to-be-one"
HOST = "127.0.0.1"
ABSENT = "runner-codex"
"""It stays away, so that the prompts of the gateway's sessions are the only thing that happens to them."""
STUBBED = "runner-claude"
"""The runners' own contract is asked of this one, with an agent that only says a word."""
SETTLE_SECONDS = 0.05
T = TypeVar("T")


class InThread:
    """An event loop in a thread: the services there, blocking test clients here."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs to the end there."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(60)

    def stop(self) -> None:
        """Ends the thread."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)


@dataclass
class Product:
    """The running services, a token, and the ids of what was made."""

    urls: dict[str, str]
    token: str
    tenant: str
    ids: dict[str, dict[str, str]]
    """By the service that is asked: the runner's run is one of its own, and it has ended."""
    thread: InThread
    client: Client
    is_busy: bool = False
    """Set by a write: what follows from it (a worktree removed) may still be on its way into the log."""

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    def headers_of_container(self, session: str) -> dict[str, str]:
        """What a container of the session presents."""
        tokens = Tokens(derive_key(KEY, SESSION_KEY), SESSION_AUDIENCE)
        return {"Authorization": f"Bearer {tokens.mint(tenant=self.tenant, session=session, epoch=1)}"}

    def last_sequence(self) -> int:
        """The last place of the event log, once nothing moves any more."""
        settle = SETTLE_SECONDS if self.is_busy else 0
        self.is_busy = False
        return self.thread.run(_last_sequence(self.client, settle))


async def _last_sequence(client: Client, settle_seconds: float) -> int:
    last = -1
    while True:
        found = (await client.jetstream().stream_info(EVENTS)).state.last_seq
        if found == last or not settle_seconds:
            return found
        last = found
        await asyncio.sleep(settle_seconds)


@pytest.fixture(scope="module")
def product(
    nats_server: NatsServer, postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Product]:
    """Every service, and a repository, a session and a run of one tenant."""
    thread = InThread()
    folder = tmp_path_factory.mktemp("contract")
    tenant = str(uuid.uuid4())
    try:
        client = thread.run(_prepare(nats_server.url))
        database = thread.run(ensure_database(postgres_server, f"contract_{uuid.uuid4().hex}", "runyard", "runyard"))
        ports = {part.name: free_port() for part in PARTS}
        urls = {name: f"http://{HOST}:{port}" for name, port in ports.items()}
        shared: dict[str, Any] = {
            **{f"{name.replace('-', '_')}_url": url for name, url in urls.items()},
            "nats_url": nats_server.url,
            "database_url": SecretStr(database),
            "jwt_secret_key": SecretStr(KEY),
            "run_token_key": SecretStr(KEY[::-1]),
            "workspaces_root": folder / "workspaces",
            "agents_root": folder / "agents",
            "local_import_roots": (folder,),
            "import_schemes": (),
            "environment": "test",
            "log_level": "ERROR",
            "shutdown_grace_seconds": 2,
            "reconcile_seconds": 3600,
            "stream_heartbeat_seconds": 0.05,
            "stream_life_seconds": 0.2,
        }
        services = [_build(part, ports[part.name], shared) for part in PARTS if part.name != ABSENT]
        stop = asyncio.Event()
        task = thread.run(_start(services, stop))
        token = Tokens(KEY).mint(tenant=tenant, user="ada", role="admin")
        try:
            made = _make(urls["gateway"], token, _repository(folder / "project")) | {"team_id": tenant}
            ids = dict.fromkeys(urls, made) | {STUBBED: made | _run_to_its_end(urls["gateway"], token, made)}
            yield Product(urls, token, tenant, ids, thread, client)
        finally:
            thread.loop.call_soon_threadsafe(stop.set)
            thread.run(_ended(task))
            thread.run(client.close())
    finally:
        thread.stop()


async def _prepare(nats_url: str) -> Client:
    client = await connect(nats_url, service="tests")
    await declare_afresh(client)
    return client


def _build(part: Part, port: int, shared: dict[str, Any]) -> Service:
    settings = load_settings_class(part)
    values = {name: value for name, value in shared.items() if name in settings.model_fields}
    made = settings(**values, port=port)
    if isinstance(made, RunnerSettings):
        return build_runner(STUBBED, "claude", made, StubAgent(lambda _: [Say(1)]))
    return load_build(part)(made)


async def _start(services: list[Service], stop: asyncio.Event) -> "asyncio.Task[None]":
    ready = asyncio.Event()
    task = asyncio.create_task(serve(services, stop, on_ready=ready.set))
    waiting = asyncio.create_task(ready.wait())
    await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        task.result()
    return task


async def _ended(task: "asyncio.Task[None]") -> None:
    await task


def _repository(folder: Path) -> Path:
    folder.mkdir()
    (folder / "README.md").write_text("# A project\n")
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.com"]
    for arguments in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "first"]):
        subprocess.run(["git", *identity, *arguments], cwd=folder, check=True)
    return folder


def _make(url: str, token: str, repository: Path) -> dict[str, str]:
    """A workspace, a session, and a run that waits for an agent."""
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=60, trust_env=False) as api:
        body = {"source_type": "local", "source_uri": str(repository)}
        workspace = api.post("/api/workspaces/import", json=body).raise_for_status().json()["workspace_id"]
        body = {"workspace_id": workspace, "runner_type": "codex", "title": "Look around"}
        session = api.post("/api/sessions", json=body).raise_for_status().json()
        path = f"/api/sessions/{session['session_id']}/prompt"
        run = api.post(path, json={"prompt": "Look around"}).raise_for_status().json()["run_id"]
    return {
        "workspace_id": workspace,
        "session_id": session["session_id"],
        "run_id": run,
        "thread_id": session["thread_id"],
        "path": "README.md",
    }


def _run_to_its_end(url: str, token: str, made: dict[str, str]) -> dict[str, str]:
    """A session of the runner that is there, and a run that has ended."""
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=60, trust_env=False) as api:
        body = {"workspace_id": made["workspace_id"], "runner_type": "claude"}
        session = api.post("/api/sessions", json=body).raise_for_status().json()["session_id"]
        run = api.post(f"/api/sessions/{session}/prompt", json={"prompt": "Hello"}).raise_for_status().json()["run_id"]
        # The checkpoint is the last thing that follows from a run. A stream of this product lives for a moment only.
        while "checkpoint.created" not in api.get(f"/api/sessions/{session}/events").raise_for_status().text:
            continue
    return {"session_id": session, "run_id": run, "thread_id": session}

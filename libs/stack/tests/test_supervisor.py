"""The supervisor on the real servers, with a small service in place of the product's."""

import asyncio
import os
import signal
import sys
import textwrap
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import psutil
import pytest

from runyard_chassis.service import run_until_signal
from runyard_events.redact import Redactor
from runyard_stack import hosts, services, supervisor
from runyard_stack.accounts import NATS_USERS
from runyard_stack.credentials import Credentials, load_credentials
from runyard_stack.embedded import NatsServer, NatsUser
from runyard_stack.embedded.ports import free_port, is_free
from runyard_stack.errors import StackError
from runyard_stack.hosts import inherited, next_backoff
from runyard_stack.layout import Layout
from runyard_stack.models import model_source
from runyard_stack.probe import ask_ready
from runyard_stack.servers import Existing
from runyard_stack.services import Part
from runyard_stack.state import State, is_locked, read_state
from runyard_stack.supervisor import Stack
from runyard_stack.testing import free_base

SETTINGS = """
    from pathlib import Path
    from runyard_chassis.settings import ServiceSettings

    class Settings(ServiceSettings):
        workspaces_root: Path
"""
APP = """
    import asyncpg, nats
    from runyard_chassis import Database, Service, create_app

    def build(settings):
        database = Database(settings.database_url, "toy")

        async def log():
            connection = await nats.connect(
                settings.nats_url, user=settings.nats_user, password=settings.nats_password.get_secret_value(),
                allow_reconnect=False,
            )
            await connection.close()

        app = create_app("toy", settings=settings, ready={"database": database.ping, "log": log})
        return Service("gateway", app, settings.host, settings.port, shutdown_grace_seconds=2)
"""
MAIN = """
    from runyard_chassis import run_service
    from runyard_toy_gateway.app import build
    from runyard_toy_gateway.settings import Settings

    run_service(build, Settings)
"""


class Recorder:
    """A progress that remembers what was said, and lets a test wait for it."""

    def __init__(self) -> None:
        self.said: asyncio.Queue[str] = asyncio.Queue()
        self.ready = asyncio.Event()

    def note(self, text: str) -> None:
        self.said.put_nowait(text)

    def warn(self, text: str) -> None:
        self.said.put_nowait(text)

    def step(self, text: str, server: str = "") -> AbstractContextManager[None]:  # noqa: ARG002
        return nullcontext()

    def announce(self, *_: State | Credentials | float) -> None:
        self.ready.set()

    async def heard(self, words: str) -> None:
        async with asyncio.timeout(60):
            while words not in await self.said.get():
                pass


async def until_ready(layout: Layout) -> None:
    async with asyncio.timeout(60):
        while not (await ask_ready(layout.port("gateway")))[0]:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.05)


class ToyPart(Part):
    """The gateway's place, taken by a small service."""

    @property
    def package(self) -> str:
        return "runyard_toy_gateway"


@pytest.fixture
def layout(free_layout: Layout) -> Layout:
    return free_layout


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    package = tmp_path / "packages" / "runyard_toy_gateway"
    package.mkdir(parents=True)
    for name, text in {"__init__": "", "settings": SETTINGS, "app": APP, "__main__": MAIN}.items():
        (package / f"{name}.py").write_text(textwrap.dedent(text))
    monkeypatch.syspath_prepend(str(package.parent))
    monkeypatch.setenv("PYTHONPATH", str(package.parent))
    for module in (services, supervisor, hosts):
        monkeypatch.setattr(module, "PARTS", (ToyPart("gateway"),))
    yield
    for name in [name for name in sys.modules if name.startswith("runyard_toy_gateway")]:
        del sys.modules[name]


class Running:
    """A stack in a task of this test."""

    def __init__(self, layout: Layout, *, processes: bool = False, **environment: str) -> None:
        self.progress = Recorder()
        self.stop = asyncio.Event()
        self.stack = Stack(
            layout,
            self.progress,
            processes=processes,
            environment={**os.environ, **environment},
            on_ready=self.progress.announce,
        )
        self.task = asyncio.create_task(self.stack.run(self.stop))

    async def ready(self) -> None:
        waiting = asyncio.create_task(self.progress.ready.wait())
        await asyncio.wait([waiting, self.task], timeout=60, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if self.task.done():
            await self.task
        assert self.progress.ready.is_set()

    async def ended(self) -> None:
        self.stop.set()
        async with asyncio.timeout(40):
            await self.task


@pytest.mark.usefixtures("toy")
@pytest.mark.parametrize("processes", [False, True])
async def test_a_stack_becomes_ready_and_stops_without_a_trace(layout: Layout, *, processes: bool) -> None:
    running = Running(layout, processes=processes)
    await running.ready()
    state = read_state(layout)
    assert state
    assert state.phase == "ready"
    assert await ask_ready(layout.port("gateway")) == (True, "ready")

    await running.ended()

    assert read_state(layout) is None
    assert not is_locked(layout.lock)
    assert all(is_free(layout.port(name)) for name in ("gateway", "nats", "postgres"))


@pytest.mark.usefixtures("toy")
@pytest.mark.parametrize("processes", [False, True])
async def test_existing_servers_are_used_and_none_are_started(
    layout: Layout, tmp_path: Path, database_url: str, *, processes: bool
) -> None:
    nats = NatsServer(tmp_path / "nats", free_port(), users=[NatsUser("me", "p@ss word")], durable=False)
    await nats.start_async()
    url = f"nats://me:p%40ss%20word@127.0.0.1:{nats.port}"
    running = Running(layout, processes=processes, NATS_URL=url, DATABASE_URL=database_url)
    await running.ready()
    state = read_state(layout)
    assert state
    assert state.event_log == nats.url
    assert state.database.startswith("127.0.0.1:")
    assert is_free(layout.port("nats"))
    assert is_free(layout.port("postgres"))
    await running.ended()
    assert nats.ready()
    nats.stop()


@pytest.mark.usefixtures("toy")
async def test_servers_that_die_come_back_and_services_reconnect(layout: Layout) -> None:
    running = Running(layout)
    await running.ready()
    for server, name in (("nats/nats.pid", "NATS"), ("postgres/postgres.pid", "PostgreSQL")):
        os.kill(int((layout.home / server).read_text().split()[0]), signal.SIGKILL)
        await running.progress.heard(f"{name} is up again")
    await until_ready(layout)
    await running.ended()


@pytest.mark.usefixtures("toy")
async def test_a_service_process_that_dies_is_started_again_and_that_is_said(layout: Layout) -> None:
    running = Running(layout, processes=True)
    await running.ready()
    os.kill(int((layout.home / "run" / "gateway.pid").read_text().split()[0]), signal.SIGKILL)
    await running.progress.heard("gateway died (code -9)")
    await until_ready(layout)
    await running.ended()


@pytest.mark.usefixtures("toy")
async def test_a_second_stack_on_the_same_folder_is_refused_and_the_first_lives_on(layout: Layout) -> None:
    running = Running(layout)
    await running.ready()
    with pytest.raises(StackError, match="already runs on"):
        await Running(layout).ready()
    assert await ask_ready(layout.port("gateway")) == (True, "ready")
    await running.ended()


@pytest.mark.usefixtures("toy")
async def test_two_stacks_live_side_by_side(layout: Layout) -> None:
    other = Layout(layout.home / "beside", free_base(besides=layout.port_base))
    both = [Running(layout), Running(other)]
    for running in both:
        await running.ready()
    for running in both:
        await running.ended()


@pytest.mark.usefixtures("toy")
async def test_a_taken_service_port_is_named_and_nothing_is_left_running(layout: Layout) -> None:
    layout.create()
    squatter = await asyncio.start_server(lambda _r, w: w.close(), "127.0.0.1", layout.port("gateway"))
    with pytest.raises(StackError, match=rf"Port {layout.port('gateway')}, wanted for gateway"):
        await Running(layout).ready()
    squatter.close()
    assert not is_locked(layout.lock)
    children = psutil.Process().children(recursive=True)
    assert not [child for child in children if str(layout.home) in " ".join(child.cmdline())]


@pytest.mark.usefixtures("toy")
async def test_a_stop_during_the_start_leaves_nothing_running(layout: Layout) -> None:
    running = Running(layout)
    running.stop.set()
    async with asyncio.timeout(40):
        await running.task
    assert not is_locked(layout.lock)
    again = Running(layout)
    await again.ready()
    await again.ended()


def test_the_backoff_doubles_to_a_limit_and_starts_anew_after_a_steady_life() -> None:
    assert next_backoff(0.5, lived_seconds=1) == 1
    assert next_backoff(12, lived_seconds=1) == 15
    assert next_backoff(12, lived_seconds=60) == 0.5


def test_provider_keys_reach_the_llm_gateway_only() -> None:
    environment = {"PATH": "/bin", "OPENAI_API_KEY": "canary", "ANTHROPIC_AUTH_TOKEN": "canary"}
    environment |= {"GEMINI_API_KEY": "canary", "GOOGLE_API_KEY": "canary"}
    assert inherited(Part("llm-gateway"), environment) == environment
    assert inherited(Part("runner-codex"), environment) == {"PATH": "/bin"}


def test_what_opens_the_platform_of_sandboxes_reaches_the_orchestrator_only() -> None:
    environment = {"DOKPLOY_API_KEY": "canary", "SANDBOX_PROXY_TOKEN": "canary", "OPENAI_API_KEY": "canary"}
    assert inherited(Part("orchestrator"), environment).keys() == {"DOKPLOY_API_KEY", "SANDBOX_PROXY_TOKEN"}
    assert not inherited(Part("gateway"), environment)


def test_a_setting_that_cannot_be_used_stops_the_stack_with_its_name_and_no_value(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    credentials = load_credentials(tmp_path / "credentials.json", NATS_USERS)
    wiring = services.Wiring(
        layout=Layout(tmp_path, 13400),
        credentials=credentials,
        nats_url="nats://127.0.0.1:1",
        database_url="postgresql://127.0.0.1/none",
        nats_users={},
        jwt_secret_key=credentials.jwt_secret_key,
        redactor=Redactor(),
    )
    monkeypatch.setenv("SANDBOX", "dokploy")
    monkeypatch.setenv("DOKPLOY_API_KEY", "canary")
    with pytest.raises(StackError, match=r"orchestrator .* needs DOKPLOY_URL, DOKPLOY_NETWORK") as refused:
        services.build(Part("orchestrator"), wiring)
    assert "canary" not in str(refused.value)


def test_existing_servers_are_taken_from_the_environment() -> None:
    existing = Existing.of({"NATS_URL": "nats://me:p%40ss@log:4222", "DATABASE_URL": "postgresql://db/x"})
    assert existing == Existing("nats://log:4222", "me", "p@ss", "postgresql://db/x")
    assert Existing.of({}) == Existing()


def test_it_is_said_where_model_answers_come_from() -> None:
    assert "scripted offline model" in model_source({})
    assert model_source({"OPENAI_API_KEY": "canary"}) == "real: OpenAI (OPENAI_API_KEY)"
    assert model_source({"ANTHROPIC_BASE_URL": "http://models"}) == "real: Anthropic (http://models)"
    assert model_source({"GOOGLE_API_KEY": "canary"}) == "real: Google (GOOGLE_API_KEY)"


def test_a_command_runs_until_a_signal() -> None:
    async def main(stop: asyncio.Event) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        await stop.wait()

    run: Callable[[Callable[[asyncio.Event], Coroutine[Any, Any, None]]], None] = run_until_signal
    run(main)

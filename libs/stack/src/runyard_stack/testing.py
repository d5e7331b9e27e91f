"""Pytest fixtures on the real servers: one NATS and one PostgreSQL per test process.

Loaded by the root `conftest.py`. Every test gets streams of its own making (all streams are deleted and
declared anew before it), a database of its own, and a tenant of its own.
"""

import asyncio
import secrets
import shutil
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
from nats.aio.client import Client
from nats.js import JetStreamContext

from runyard_stack.credentials import Credentials, nats_issuer
from runyard_stack.embedded.databases import clone_database, drop_database, ensure_database
from runyard_stack.embedded.nats import NatsServer
from runyard_stack.embedded.ports import free_port, is_free
from runyard_stack.embedded.postgres import PostgresServer
from runyard_stack.layout import OFFSETS, Layout
from runyard_stack.testing_model import scripted_model

if TYPE_CHECKING:
    from runyard_events.log import EventLog

ROLE = "runyard"
LOWEST_TEST_BASE = 10_000
HIGHEST_TEST_BASE = 32_000
PORTS_OF_A_STACK = 20
TEMPLATE = "runyard_template"
DECLARE_ATTEMPTS = 20


@dataclass(frozen=True)
class SecuredNats:
    """Address of a NATS server and the passwords of its users, by service."""

    url: str
    passwords: Mapping[str, str]
    issuer_seed: str


@pytest.fixture(scope="session")
def server_folder() -> Iterator[Path]:
    """A short-lived folder that PostgreSQL's unprivileged user can reach."""
    folder = Path(tempfile.mkdtemp(prefix="runyard-tests-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def stack_home() -> Iterator[Path]:
    """A data folder for a whole stack.

    Not below pytest's own folder: every start of another pytest closes that one to other users, and with it
    the way of an unprivileged PostgreSQL to its data.
    """
    folder = Path(tempfile.mkdtemp(prefix="runyard-home-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def free_base(besides: int = 0) -> int:
    """A port base whose ports are all free, and none of them of the stack at `besides`.

    Below the ports that the system gives to outgoing connections: one of those may take a port between the
    look at it and the start of its server.
    """
    while True:
        base = secrets.choice(range(LOWEST_TEST_BASE, HIGHEST_TEST_BASE, PORTS_OF_A_STACK))
        if base != besides and all(is_free(base + offset) for offset in OFFSETS.values()):
            return base


@pytest.fixture
def free_layout(stack_home: Path) -> Layout:
    """A layout whose ports are all free."""
    return Layout(stack_home, free_base())


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--servers containers`: NATS and PostgreSQL as compose.yaml runs them."""
    parser.addoption("--servers", choices=("embedded", "containers"), default="embedded")


def _server_classes(config: pytest.Config) -> tuple[type[NatsServer], type[PostgresServer]]:
    if config.getoption("--servers") == "embedded":
        return NatsServer, PostgresServer
    from runyard_stack.testing_containers import ContainerNats, ContainerPostgres, images  # noqa: PLC0415

    chosen = images(config.rootpath)
    ContainerNats.image, ContainerPostgres.image = chosen["NATS_IMAGE"], chosen["POSTGRES_IMAGE"]
    return ContainerNats, ContainerPostgres


@pytest.fixture(scope="session")
def nats_server(request: pytest.FixtureRequest, server_folder: Path) -> Iterator[NatsServer]:
    """A running NATS server without users, its writes not synced."""
    server = _server_classes(request.config)[0](server_folder / "nats", free_port(), durable=False)
    server.start()
    yield server
    server.stop()


async def declare_afresh(connection: Client) -> None:
    """Every stream of the product, empty."""
    from runyard_events.errors import EventError  # noqa: PLC0415
    from runyard_events.topology import ensure_topology  # noqa: PLC0415

    js = JetStreamContext(connection)
    for attempt in range(1, DECLARE_ATTEMPTS + 1):
        for stream in await js.streams_info():
            if stream.config.name:
                await js.delete_stream(stream.config.name)
        try:
            await ensure_topology(connection)
        except EventError:
            # The server answers a deletion before the stream's folder is quite gone.
            if attempt == DECLARE_ATTEMPTS:
                raise
            await asyncio.sleep(0.1)
        else:
            return


@pytest_asyncio.fixture
async def nats_url(nats_server: NatsServer) -> str:
    """Address of a NATS server with freshly declared, empty streams."""
    from runyard_events.connection import connect  # noqa: PLC0415

    connection = await connect(nats_server.url, service="tests")
    try:
        await declare_afresh(connection)
    finally:
        await connection.close()
    return nats_server.url


@pytest_asyncio.fixture
async def secured_nats(tmp_path: Path) -> AsyncIterator[SecuredNats]:
    """A NATS server with a user for each service, as `runyard up` starts it, and its streams declared."""
    from runyard_events.connection import connect  # noqa: PLC0415
    from runyard_events.topology import ensure_topology  # noqa: PLC0415
    from runyard_stack.accounts import NATS_USERS, STACK, nats_users  # noqa: PLC0415

    passwords = {user: uuid.uuid4().hex for user in NATS_USERS}
    credentials = Credentials(nats_passwords=passwords)
    users, issuer = nats_users(credentials), nats_issuer(credentials)
    server = NatsServer(tmp_path / "nats", free_port(), users=users, durable=False, issuer=issuer)
    await server.start_async()
    connection = await connect(server.url, service=STACK, user=STACK, password=passwords[STACK])
    await ensure_topology(connection)
    await connection.close()
    yield SecuredNats(server.url, passwords, credentials.nats_issuer_seed)
    server.stop()


@pytest_asyncio.fixture
async def nats_client(nats_url: str) -> AsyncIterator[Client]:
    """A connection to NATS."""
    from runyard_events.connection import connect  # noqa: PLC0415

    connection = await connect(nats_url, service="tests")
    yield connection
    await connection.close()


@pytest.fixture
def jetstream(nats_client: Client) -> JetStreamContext:
    """JetStream on the test's connection."""
    return JetStreamContext(nats_client)


@pytest.fixture
def event_log(nats_client: Client) -> "EventLog":
    """The event log, empty."""
    from runyard_events.log import EventLog  # noqa: PLC0415

    return EventLog(nats_client)


@pytest.fixture(scope="session")
def postgres_server(request: pytest.FixtureRequest, server_folder: Path) -> Iterator[PostgresServer]:
    """A running PostgreSQL whose data is thrown away."""
    server = _server_classes(request.config)[1](server_folder / "postgres", free_port(), durable=False)
    server.start()
    yield server
    server.stop(timeout=2)


@pytest_asyncio.fixture
async def database_url(postgres_server: PostgresServer) -> AsyncIterator[str]:
    """SQLAlchemy address of a fresh database with pgvector, owned by a role that is no superuser."""
    await ensure_database(postgres_server, TEMPLATE, ROLE, ROLE)
    name = f"test_{uuid.uuid4().hex}"
    await clone_database(postgres_server, TEMPLATE, name, ROLE)
    yield postgres_server.url(name, ROLE, ROLE)
    await drop_database(postgres_server, name)


@pytest.fixture(scope="session")
def model_url() -> Iterator[str]:
    """The scripted model, outside any stack."""
    with scripted_model() as url:
        yield url


@pytest.fixture
def tenant() -> str:
    """A tenant that no other test has."""
    return str(uuid.uuid4())

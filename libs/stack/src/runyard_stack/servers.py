"""NATS and PostgreSQL for a stack: our own, or existing ones by NATS_URL and DATABASE_URL."""

import asyncio
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from runyard_events.connection import connect
from runyard_events.permissions import SERVICES
from runyard_events.topology import ensure_topology
from runyard_stack.accounts import STACK, nats_users
from runyard_stack.credentials import Credentials, nats_issuer
from runyard_stack.embedded.errors import EmbeddedError
from runyard_stack.embedded.nats import NatsServer
from runyard_stack.embedded.postgres import PostgresServer
from runyard_stack.embedded.server import EmbeddedServer
from runyard_stack.layout import Layout
from runyard_stack.progress import Progress

DATABASE = "runyard"
ROLE = "runyard"
DEFAULT_POSTGRES_PORT = 5432
LONGEST_BACKOFF_SECONDS = 10.0
WATCH_SECONDS = 0.2


@dataclass(frozen=True)
class Existing:
    """Servers that somebody else runs; None where we run our own."""

    nats_url: str | None = None
    nats_user: str | None = None
    nats_password: str | None = None
    database_url: str | None = None

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> "Existing":
        """From NATS_URL (with its user inside, or NATS_USER and NATS_PASSWORD) and DATABASE_URL."""
        nats_url = environment.get("NATS_URL") or None
        user, password = environment.get("NATS_USER"), environment.get("NATS_PASSWORD")
        if nats_url and "@" in nats_url:
            parts = urlsplit(nats_url)
            user, password = unquote(parts.username or ""), unquote(parts.password or "")
            nats_url = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        return cls(nats_url, user, password, environment.get("DATABASE_URL") or None)


class Servers:
    """Both servers of one stack: started together, watched, stopped in order."""

    def __init__(self, layout: Layout, credentials: Credentials, existing: Existing, progress: Progress) -> None:
        self._credentials = credentials
        self._existing = existing
        self._progress = progress
        self._watchers: list[asyncio.Task[None]] = []
        self.nats = None
        if existing.nats_url is None:
            self.nats = NatsServer(
                layout.nats, layout.port("nats"), users=nats_users(credentials), issuer=nats_issuer(credentials)
            )
        self.postgres = None
        if existing.database_url is None:
            self.postgres = PostgresServer(
                layout.postgres, layout.port("postgres"), password=credentials.postgres_superuser_password
            )

    @property
    def nats_url(self) -> str:
        """Where NATS is."""
        return self.nats.url if self.nats else self._existing.nats_url or ""

    @property
    def database_url(self) -> str:
        """Where the services' database is, with their role and password."""
        if self.postgres is None:
            return self._existing.database_url or ""
        return self.postgres.url(DATABASE, ROLE, self._credentials.postgres_password)

    @property
    def database_address(self) -> str:
        """Where the database is, for people: host and port, without user and password."""
        parts = urlsplit(self.database_url)
        return f"{parts.hostname or ''}:{parts.port or DEFAULT_POSTGRES_PORT}"

    @property
    def users(self) -> dict[str, tuple[str, str]]:
        """User and password of each service at NATS; empty when NATS asks for none."""
        if self.nats is not None:
            return {name: (name, self._credentials.nats_passwords[name]) for name in SERVICES}
        if self._existing.nats_user:
            account = (self._existing.nats_user, self._existing.nats_password or "")
            return dict.fromkeys(SERVICES, account)
        return {}

    async def start(self) -> None:
        """Start both at once; then streams, database and role are there."""
        await all_of(self._start_nats(), self._start_postgres())
        self._watchers = [asyncio.create_task(self._keep_up(server)) for server in (self.nats, self.postgres) if server]

    async def _start_nats(self) -> None:
        if self.nats is not None:
            with self._progress.step("Event log (NATS)", self.nats.url):
                await self.nats.start_async()
        await self._declare_streams()

    async def _declare_streams(self) -> None:
        user, password = self._existing.nats_user, self._existing.nats_password
        if self.nats is not None:
            user, password = STACK, self._credentials.nats_passwords[STACK]
        connection = await connect(self.nats_url, service=STACK, user=user, password=password, wait_seconds=10)
        try:
            await ensure_topology(connection)
        finally:
            await connection.close()

    async def _start_postgres(self) -> None:
        if self.postgres is None:
            return
        from runyard_stack.embedded.databases import ensure_database  # noqa: PLC0415 - SQLAlchemy is slow to load

        first = "" if self.postgres.initialised else ", creating its files"
        with self._progress.step(f"Database (PostgreSQL{first})", f"127.0.0.1:{self.postgres.port}"):
            await self.postgres.start_async()
            await ensure_database(self.postgres, DATABASE, ROLE, self._credentials.postgres_password)
        for notice in self.postgres.notices:
            self._progress.note(notice)

    async def _keep_up(self, server: EmbeddedServer) -> None:
        """Start a server again whenever it has died."""
        backoff = 0.1
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            if server.running:
                continue
            self._progress.warn(f"{server.name} died (code {server.child.exit_code}); starting it again.")
            await asyncio.sleep(backoff)
            try:
                await server.start_async()
            except EmbeddedError as error:
                backoff = min(backoff * 2, LONGEST_BACKOFF_SECONDS)
                self._progress.warn(f"{error}\n  Trying again in {backoff:.1f} s.")
            else:
                backoff = 0.1
                self._progress.warn(f"{server.name} is up again.")

    async def stop(self) -> None:
        """Stop NATS, then PostgreSQL: the log first, so that nothing more is asked of the tables."""
        for watcher in self._watchers:
            watcher.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)
        for server in (self.nats, self.postgres):
            if server is not None:
                await asyncio.to_thread(server.stop, 4)


async def all_of(*works: Coroutine[Any, Any, None]) -> None:
    """Do all at once and end when all have ended, whatever becomes of one of them.

    Raises:
        The first failure, in the order given.
    """
    for outcome in await asyncio.gather(*works, return_exceptions=True):
        if outcome is not None:
            raise outcome

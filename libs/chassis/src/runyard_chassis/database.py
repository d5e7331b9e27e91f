"""One PostgreSQL schema per service: engine, sessions, transactions."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from pydantic import SecretStr
from sqlalchemy import URL, MetaData, make_url, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine

from runyard_chassis import migrations


class Database:
    """A service's own schema in the shared database.

    The search path is the schema, then `public` (where extensions live). Nothing connects before the first
    use.
    """

    def __init__(
        self,
        url: str | SecretStr,
        schema: str,
        *,
        pool_size: int = 5,
        max_overflow: int = 10,
        statement_timeout_seconds: float = 30,
    ) -> None:
        if not schema.isidentifier():
            raise ValueError(f"not a plain schema name: {schema!r}")
        self.url = async_url(url)
        self.schema = schema
        self.engine: AsyncEngine = create_async_engine(
            self.url,
            pool_size=pool_size,
            max_overflow=max_overflow,
            pool_timeout=10,
            pool_pre_ping=True,
            connect_args=connect_arguments(schema, statement_timeout_seconds=statement_timeout_seconds),
        )
        self._sessions = async_sessionmaker(self.engine, expire_on_commit=False)

    def session(self) -> AsyncSession:
        """A session, to be used with `async with`; the caller commits."""
        return self._sessions()

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[AsyncSession]:
        """A session in a transaction: committed at the end, rolled back on an error."""
        async with self._sessions() as session, session.begin():
            yield session

    async def migrate(self, package: str, *, revision: str = "head") -> None:
        """Brings the schema (created when missing) up to the package's newest migration.

        Replicas that start together wait for each other; at head already, it is one query.
        """
        await migrations.upgrade(self.url, self.schema, package, revision)

    async def downgrade(self, package: str, revision: str = "base") -> None:
        """Takes migrations back: to `base`, `-1`, or a revision."""
        await migrations.downgrade(self.url, self.schema, package, revision)

    async def drift(self, package: str, metadata: MetaData) -> list[Any]:
        """What autogenerate would still change in the migrated schema to match `metadata`; empty when in step."""
        return await migrations.drift(self.url, self.schema, package, metadata)

    async def ping(self) -> None:
        """A readiness check: one round trip."""
        async with self.engine.connect() as connection:
            await connection.execute(text("select 1"))

    async def close(self) -> None:
        """Closes all connections."""
        await self.engine.dispose()


def async_url(url: str | SecretStr) -> URL:
    """A PostgreSQL URL in any usual spelling, for asyncpg: `postgres://`, `postgresql://`, `?sslmode=` ..."""
    parsed = make_url(url.get_secret_value() if isinstance(url, SecretStr) else url)
    if not parsed.drivername.startswith("postgres"):
        raise ValueError(f"DATABASE_URL must be a PostgreSQL address, not {parsed.drivername}://")
    parsed = parsed.set(drivername="postgresql+asyncpg")
    sslmode = parsed.query.get("sslmode")
    if isinstance(sslmode, str):
        parsed = parsed.difference_update_query(["sslmode"]).update_query_dict({"ssl": sslmode})
    return parsed


def connect_arguments(schema: str, *, statement_timeout_seconds: float) -> dict[str, Any]:
    """What each asyncpg connection of a service is opened with; 0 seconds is no limit."""
    milliseconds = str(int(statement_timeout_seconds * 1000))
    return {
        "timeout": 10,
        # The client's own limit, for a server that does not answer at all: a little later than the server's.
        "command_timeout": statement_timeout_seconds + 5 if statement_timeout_seconds else None,
        "server_settings": {
            "search_path": f"{schema}, public",
            "application_name": f"runyard-{schema}",
            "statement_timeout": milliseconds,
            "idle_in_transaction_session_timeout": "60000",
        },
    }

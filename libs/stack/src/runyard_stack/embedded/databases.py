"""The application's role and database on an embedded PostgreSQL."""

import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from runyard_stack.embedded.errors import EmbeddedError
from runyard_stack.embedded.postgres import PostgresServer

IDENTIFIER = re.compile(r"[a-z][a-z0-9_]{0,62}")


@asynccontextmanager
async def superuser(server: PostgresServer, database: str = "postgres") -> AsyncGenerator[AsyncConnection]:
    """An autocommitting connection as superuser.

    Raises:
        EmbeddedError: the server does not know this password.
    """
    engine = create_async_engine(server.url(database), isolation_level="AUTOCOMMIT", poolclass=NullPool)
    try:
        async with engine.connect() as connection:
            yield connection
    except DBAPIError as error:
        if "password authentication failed" not in str(error):
            raise
        raise EmbeddedError(
            f"PostgreSQL in {server.data} has another password than secrets.json.",
            "Put the secrets.json that belongs to this data folder back, or move the folder away "
            "(the tables are rebuilt from the event log).",
        ) from error
    finally:
        await engine.dispose()


async def ensure_database(server: PostgresServer, database: str, role: str, password: str) -> str:
    """Create role and database, with pgvector, unless they exist; the address to give to the services.

    The role owns its database and is no superuser: a service that is taken over cannot leave it.
    """
    async with superuser(server) as connection:
        roles = await connection.scalar(text("SELECT count(*) FROM pg_roles WHERE rolname = :role"), {"role": role})
        if not roles:
            quoted = password.replace("'", "''")
            await connection.exec_driver_sql(f"CREATE ROLE {plain(role)} LOGIN PASSWORD '{quoted}'")
        databases = await connection.scalar(
            text("SELECT count(*) FROM pg_database WHERE datname = :database"), {"database": database}
        )
        if not databases:
            await connection.exec_driver_sql(f"CREATE DATABASE {plain(database)} OWNER {plain(role)}")
    async with superuser(server, database) as connection:
        await connection.exec_driver_sql("CREATE EXTENSION IF NOT EXISTS vector")
    return server.url(database, role, password)


async def clone_database(server: PostgresServer, template: str, database: str, role: str) -> None:
    """Copy a database; nobody may be connected to the template."""
    async with superuser(server) as connection:
        await connection.exec_driver_sql(
            f"CREATE DATABASE {plain(database)} TEMPLATE {plain(template)} OWNER {plain(role)}"
        )


async def drop_database(server: PostgresServer, database: str) -> None:
    """Drop a database, whoever is connected to it."""
    async with superuser(server) as connection:
        await connection.exec_driver_sql(f"DROP DATABASE IF EXISTS {plain(database)} WITH (FORCE)")


def plain(identifier: str) -> str:
    """The identifier itself: only such names go into statements that take no parameters."""
    if not IDENTIFIER.fullmatch(identifier):
        raise ValueError(f"not a plain identifier: {identifier!r}")
    return identifier

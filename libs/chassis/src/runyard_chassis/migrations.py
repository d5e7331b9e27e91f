"""Alembic without a folder of boilerplate per service: a service has `migrations/versions/`, the rest is here.

Alembic takes about a second to import, so it is imported only when there is something to migrate.
"""

import asyncio
import re
import threading
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import URL, Connection, MetaData, NullPool, text
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

if TYPE_CHECKING:
    from alembic.config import Config

ENVIRONMENT = Path(__file__).parent / "alembic_env"
_ASSIGNED = re.compile(r"^(revision|down_revision)\b[^=\n]*=\s*(.+)$", re.MULTILINE)
_NAME = re.compile(r"""["']([^"']+)["']""")

# Alembic keeps the running migration in module globals (`from alembic import op`): one at a time per process.
_alembic_in_use = threading.Lock()


class MigrationError(Exception):
    """A package's migrations are not usable as they are."""


def versions_folder(package: str) -> Path:
    """Where the package keeps its migrations."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise MigrationError(f"no package {package}")
    return Path(spec.submodule_search_locations[0]) / "migrations" / "versions"


def head_of(folder: Path) -> str | None:
    """The newest revision, read from the files' text, without importing them or Alembic."""
    revisions: set[str] = set()
    parents: set[str] = set()
    for file in folder.glob("*.py"):
        for kind, value in _ASSIGNED.findall(file.read_text(encoding="utf-8")):
            (revisions if kind == "revision" else parents).update(_NAME.findall(value))
    heads = revisions - parents
    if len(heads) > 1:
        raise MigrationError(f"{folder} has several heads: {', '.join(sorted(heads))}")
    return heads.pop() if heads else None


async def upgrade(url: URL, schema: str, package: str, revision: str = "head") -> None:
    """Creates the schema and applies what is missing, all in one transaction."""
    folder = versions_folder(package)
    head = head_of(folder)
    if revision == "head" and head is not None and await _current(url, schema) == head:
        return

    def apply(config: "Config") -> None:
        from alembic import command  # noqa: PLC0415

        command.upgrade(config, revision)

    await asyncio.to_thread(_in_own_loop, url, schema, folder, apply)


async def downgrade(url: URL, schema: str, package: str, revision: str = "base") -> None:
    """Takes migrations back."""

    def apply(config: "Config") -> None:
        from alembic import command  # noqa: PLC0415

        command.downgrade(config, revision)

    await asyncio.to_thread(_in_own_loop, url, schema, versions_folder(package), apply)


async def drift(url: URL, schema: str, package: str, metadata: MetaData) -> list[Any]:
    """Differences between the schema as migrated and the models."""
    found: list[Any] = []

    def compare(config: "Config") -> None:
        from alembic.autogenerate import compare_metadata  # noqa: PLC0415
        from alembic.migration import MigrationContext  # noqa: PLC0415

        context = MigrationContext.configure(_only(config, schema), opts={"compare_type": True})
        found.extend(compare_metadata(context, metadata))

    await asyncio.to_thread(_in_own_loop, url, schema, versions_folder(package), compare)
    return found


async def autogenerate(url: URL, schema: str, package: str, metadata: MetaData, message: str) -> Path:
    """Writes the next migration: what the models have and the schema, which must be at head, has not."""
    folder = versions_folder(package)
    written: list[str] = []

    def write(config: "Config") -> None:
        from alembic import command  # noqa: PLC0415

        _only(config, schema)
        config.attributes["metadata"] = metadata
        number = f"{len(list(folder.glob('[0-9]*.py'))) + 1:04d}"
        script = command.revision(config, message, autogenerate=True, rev_id=number, version_path=str(folder))
        written.extend(str(one.path) for one in [script] if one is not None and not isinstance(one, list))

    await asyncio.to_thread(_in_own_loop, url, schema, folder, write)
    return Path(written[0])


def _only(config: "Config", schema: str) -> Connection:
    """The connection, seeing this schema alone: tables of `public` would look like tables to drop."""
    connection: Connection = config.attributes["connection"]
    connection.execute(text(f'set local search_path to "{schema}"'))
    return connection


def alembic_config(folder: Path, connection: Connection | None = None) -> "Config":
    """Alembic's configuration: our shared environment, the service's versions."""
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(ENVIRONMENT).replace("%", "%%"))
    config.set_main_option("version_locations", str(folder).replace("%", "%%"))
    config.set_main_option("path_separator", "newline")
    config.set_main_option("file_template", "%%(rev)s_%%(slug)s")
    config.attributes["connection"] = connection
    return config


def _in_own_loop(url: URL, schema: str, folder: Path, work: Callable[["Config"], None]) -> None:
    """In a thread of its own, so that migrations never hold up the service's event loop."""
    asyncio.run(_locked(url, schema, folder, work))


async def _locked(url: URL, schema: str, folder: Path, work: Callable[["Config"], None]) -> None:
    def run(connection: Connection) -> None:
        with _alembic_in_use:
            work(alembic_config(folder, connection))

    engine = create_async_engine(
        url, poolclass=NullPool, connect_args={"server_settings": {"search_path": f"{schema}, public"}}
    )
    try:
        async with engine.begin() as connection:
            await _claim(connection, schema)
            await connection.run_sync(run)
    finally:
        await engine.dispose()


async def _claim(connection: AsyncConnection, schema: str) -> None:
    # Held until the transaction ends: a second replica waits here, then finds nothing left to do.
    await connection.execute(text("select pg_advisory_xact_lock(hashtextextended(:name, 0))"), {"name": schema})
    exists = await connection.scalar(text("select to_regnamespace(:name) is not null"), {"name": schema})
    if not exists:
        await connection.execute(text(f'create schema if not exists "{schema}"'))


async def _current(url: URL, schema: str) -> str | None:
    engine = create_async_engine(url, poolclass=NullPool)
    try:
        async with engine.connect() as connection:
            table = await connection.scalar(text("select to_regclass(:t)"), {"t": f"{schema}.alembic_version"})
            if table is None:
                return None
            return await connection.scalar(text(f'select version_num from "{schema}".alembic_version'))  # noqa: S608  # a plain identifier
    finally:
        await engine.dispose()

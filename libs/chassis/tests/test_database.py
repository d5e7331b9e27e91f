"""Schemas and migrations on a real PostgreSQL."""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import Column, Integer, MetaData, String, Table, text

from runyard_chassis import Database, migrate, migrations
from runyard_chassis.database import async_url
from runyard_chassis.migrations import MigrationError, head_of

FIRST = '''"""Things."""

import sqlalchemy as sa
from alembic import op

revision: str = "0001"
down_revision: str | None = None


def upgrade() -> None:
    op.create_table("things", sa.Column("id", sa.Integer, primary_key=True))


def downgrade() -> None:
    op.drop_table("things")
'''
SECOND = '''"""Names of things."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("things", sa.Column("name", sa.String(20), nullable=False))


def downgrade() -> None:
    op.drop_column("things", "name")
'''

MODELS = MetaData()
Table("things", MODELS, Column("id", Integer, primary_key=True), Column("name", String(20), nullable=False))


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A service's package with two migrations."""
    versions = tmp_path / "thing_service" / "migrations" / "versions"
    versions.mkdir(parents=True)
    (tmp_path / "thing_service" / "__init__.py").touch()
    (versions / "0001_things.py").write_text(FIRST)
    (versions / "0002_names.py").write_text(SECOND)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "thing_service", raising=False)
    return "thing_service"


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    database = Database(database_url, "things_schema")
    yield database
    await database.close()


async def tables(database: Database) -> set[str]:
    async with database.session() as session:
        found = await session.execute(
            text("select table_schema || '.' || table_name from information_schema.tables where table_schema = :s"),
            {"s": database.schema},
        )
        return {str(row[0]) for row in found}


async def test_migrating_creates_the_schema_and_everything_in_it(database: Database, package: str) -> None:
    await database.migrate(package)
    assert await tables(database) == {"things_schema.things", "things_schema.alembic_version"}


async def test_migrations_can_be_taken_back_and_applied_again(database: Database, package: str) -> None:
    await database.migrate(package)
    await database.downgrade(package, "-1")
    assert await database.drift(package, MODELS) != []
    await database.downgrade(package)
    assert await tables(database) == {"things_schema.alembic_version"}
    await database.migrate(package)
    assert await database.drift(package, MODELS) == []


async def test_models_that_differ_from_the_migrated_schema_are_reported(database: Database, package: str) -> None:
    await database.migrate(package)
    other = MetaData()
    Table("things", other, Column("id", Integer, primary_key=True), Column("name", String(99), nullable=False))
    Table("more", other, Column("id", Integer, primary_key=True))
    found = repr(await database.drift(package, other))
    assert "add_table" in found
    assert "modify_type" in found


async def test_tables_of_another_service_are_no_drift(database: Database, database_url: str, package: str) -> None:
    neighbour = Database(database_url, "neighbour")
    await neighbour.migrate(package)
    await neighbour.close()
    await database.migrate(package)
    assert await database.drift(package, MODELS) == []


async def test_replicas_that_migrate_at_once_do_not_race(database_url: str, package: str) -> None:
    replicas = [Database(database_url, "things_schema") for _ in range(4)]
    neighbour = Database(database_url, "neighbour")
    await asyncio.gather(*(one.migrate(package) for one in [*replicas, neighbour]))
    assert await tables(replicas[0]) == {"things_schema.things", "things_schema.alembic_version"}
    for one in [*replicas, neighbour]:
        await one.close()


async def test_a_migrated_schema_is_left_alone_without_running_alembic(
    database: Database, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await database.migrate(package)

    def unexpected(*_: object) -> None:
        raise AssertionError("Alembic ran")

    monkeypatch.setattr(migrations, "_in_own_loop", unexpected)
    await database.migrate(package)


async def test_a_migration_that_fails_leaves_nothing_behind(database: Database, package: str, tmp_path: Path) -> None:
    broken = SECOND.replace('"0002"', '"0003"').replace('"0001"', '"0002"').replace("things", "nothing")
    (tmp_path / package / "migrations" / "versions" / "0003_broken.py").write_text(broken)
    with pytest.raises(Exception, match="nothing"):
        await database.migrate(package)
    assert await tables(database) == set()


async def test_each_service_sees_its_own_schema(database: Database, database_url: str, package: str) -> None:
    neighbour = Database(database_url, "neighbour")
    for one in (database, neighbour):
        await one.migrate(package)
    async with database.transaction() as session:
        await session.execute(text("insert into things values (1, 'mine')"))
    async with neighbour.session() as session:
        assert await session.scalar(text("select count(*) from things")) == 0
    await neighbour.close()


async def test_a_transaction_is_rolled_back_on_an_error(database: Database, package: str) -> None:
    await database.migrate(package)

    async def fail() -> None:
        async with database.transaction() as session:
            await session.execute(text("insert into things values (1, 'lost')"))
            raise LookupError

    with pytest.raises(LookupError):
        await fail()
    async with database.session() as session:
        assert await session.scalar(text("select count(*) from things")) == 0


async def test_a_statement_that_takes_too_long_is_cut_off(database_url: str) -> None:
    database = Database(database_url, "things_schema", statement_timeout_seconds=0.05)
    with pytest.raises(Exception, match="statement timeout"):
        async with database.session() as session:
            await session.execute(text("select pg_sleep(10)"))
    await database.close()


async def test_a_dead_connection_is_replaced(database: Database) -> None:
    await database.ping()
    async with database.engine.connect() as connection:
        await connection.execute(text("select 1"))
    other = Database(database.url.render_as_string(hide_password=False), "other")
    async with other.session() as session:
        await session.execute(
            text("select pg_terminate_backend(pid) from pg_stat_activity where application_name = :name"),
            {"name": "runyard-things_schema"},
        )
    await other.close()
    await database.ping()


@pytest.mark.parametrize(
    ("given", "rendered"),
    [
        ("postgresql://u:p@h:1/d", "postgresql+asyncpg://u:p@h:1/d"),
        ("postgres://u:p@h/d", "postgresql+asyncpg://u:p@h/d"),
        ("postgresql+asyncpg://u:p@h/d", "postgresql+asyncpg://u:p@h/d"),
        ("postgresql+psycopg://u:p@h/d?sslmode=require", "postgresql+asyncpg://u:p@h/d?ssl=require"),
    ],
)
def test_addresses_are_taken_in_every_usual_spelling(given: str, rendered: str) -> None:
    assert async_url(SecretStr(given)).render_as_string(hide_password=False) == rendered


def test_an_address_of_another_kind_of_database_is_refused() -> None:
    with pytest.raises(ValueError, match="PostgreSQL"):
        async_url("sqlite:///x.db")


def test_a_schema_name_is_a_plain_one() -> None:
    with pytest.raises(ValueError, match="plain schema name"):
        Database("postgresql://h/d", 'x"; drop schema public; --')


def test_two_heads_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text('revision = "a"\ndown_revision = None\n')
    (tmp_path / "b.py").write_text('revision = "b"\ndown_revision = None\n')
    with pytest.raises(MigrationError, match="several heads: a, b"):
        head_of(tmp_path)


async def test_a_developer_writes_applies_and_takes_back_the_next_migration(
    database: Database,
    package: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / package / "tables.py").write_text(
        "from sqlalchemy import *\n"
        "metadata = MetaData()\n"
        "Table('things', metadata, Column('id', Integer, primary_key=True),"
        " Column('name', String(20), nullable=False), Column('note', Text))\n"
    )
    monkeypatch.setenv("DATABASE_URL", database.url.render_as_string(hide_password=False))

    async def run(*arguments: str) -> int:
        return await asyncio.to_thread(migrate.main, [package, "--schema", database.schema, *arguments])

    models = f"--models={package}.tables"
    assert await run("upgrade") == 0
    assert await run("check", models) == 1
    assert await run("new", "Add a note", models) == 0
    written = tmp_path / package / "migrations" / "versions" / "0003_add_a_note.py"
    assert str(written) in capsys.readouterr().out
    assert await run("upgrade") == 0
    assert await run("check", models) == 0
    assert await run("downgrade", "-1") == 0
    assert await run("check", models) == 1

"""The embedded PostgreSQL: what survives, who may connect, and what is said when it cannot start."""

import asyncio
import os
import shutil
import signal
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from runyard_stack.embedded import BrokenData, EmbeddedError, PortTaken, PostgresServer
from runyard_stack.embedded.account import let_pass
from runyard_stack.embedded.databases import ensure_database, plain, superuser
from runyard_stack.embedded.ports import free_port, require_free


@pytest.fixture
def folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="runyard-postgres-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def server(folder: Path) -> Iterator[PostgresServer]:
    server = PostgresServer(folder / "postgres", free_port(), password="of-the-superuser")
    yield server
    server.stop(timeout=2)


async def fetch(url: str, statement: str) -> object:
    engine = create_async_engine(url, poolclass=NullPool)
    try:
        async with engine.begin() as connection:
            return await _scalar(connection, statement)
    finally:
        await engine.dispose()


async def _scalar(connection: AsyncConnection, statement: str) -> object:
    result = await connection.execute(text(statement))
    return result.scalar() if result.returns_rows else None


async def test_committed_rows_survive_a_kill_and_a_restart(server: PostgresServer) -> None:
    await server.start_async()
    url = await ensure_database(server, "runyard", "runyard", "pass'word")
    await fetch(url, "CREATE TABLE kept AS SELECT 42 AS answer")
    server.child.kill()

    await server.start_async()

    assert await fetch(url, "SELECT answer FROM kept") == 42


async def test_it_starts_though_nobody_has_reaped_the_one_that_was_killed(server: PostgresServer) -> None:
    await server.start_async()
    url = await ensure_database(server, "runyard", "runyard", "pass'word")
    await fetch(url, "CREATE TABLE kept AS SELECT 42 AS answer")
    killed = server.child.process
    assert killed
    os.kill(killed.pid, signal.SIGKILL)
    await asyncio.to_thread(os.waitid, os.P_PID, killed.pid, os.WEXITED | os.WNOWAIT)  # dead, and still there

    another = PostgresServer(server.folder, server.port, password=server.password)
    try:
        await another.start_async()
        assert await fetch(url, "SELECT answer FROM kept") == 42
    finally:
        another.stop(timeout=2)


async def test_the_cluster_is_utf8_with_the_same_order_on_every_machine(server: PostgresServer) -> None:
    await server.start_async()
    async with superuser(server) as connection:
        assert await _scalar(connection, "SHOW server_encoding") == "UTF8"
        assert await _scalar(connection, "SHOW fsync") == "on"
        provider = "SELECT datlocprovider::text || datlocale FROM pg_database WHERE datname = 'postgres'"
        assert await _scalar(connection, provider) == "bC.UTF-8"


async def test_a_wrong_password_is_refused_and_the_remedy_named(server: PostgresServer) -> None:
    await server.start_async()
    server.password = "another"
    with pytest.raises(EmbeddedError, match=r"another password than secrets\.json"):
        async with superuser(server):
            pass


async def test_the_role_of_the_services_owns_its_database_and_nothing_else(server: PostgresServer) -> None:
    await server.start_async()
    url = await ensure_database(server, "runyard", "runyard", "password")
    await ensure_database(server, "runyard", "runyard", "password")
    assert await fetch(url, "SELECT extversion FROM pg_extension WHERE extname = 'vector'")
    with pytest.raises(DBAPIError, match=r"(?i)permission denied"):
        await fetch(url, "CREATE ROLE intruder SUPERUSER")


def test_a_clean_stop_leaves_no_pid_files(server: PostgresServer) -> None:
    server.start()
    server.stop()
    assert server.child.exit_code == 0
    assert not (server.data / "postmaster.pid").exists()
    assert not server.child.pidfile.exists()


def test_a_folder_that_is_no_cluster_is_left_alone_and_explained(server: PostgresServer) -> None:
    server.data.mkdir(parents=True)
    precious = server.data / "something.txt"
    precious.write_text("precious")
    with pytest.raises(BrokenData, match=r"PG_VERSION is missing.*\n.*mv "):
        server.start()
    assert precious.read_text() == "precious"


def test_a_cluster_of_another_version_is_named(server: PostgresServer) -> None:
    server.data.mkdir(parents=True)
    (server.data / "PG_VERSION").write_text("16\n")
    with pytest.raises(BrokenData, match="written by PostgreSQL 16; this Runyard brings PostgreSQL 18"):
        server.start()


def test_a_damaged_cluster_shows_what_postgresql_says(server: PostgresServer) -> None:
    server.start()
    server.stop()
    (server.data / "global" / "pg_control").unlink()
    with pytest.raises(BrokenData, match=r"(?s)ended with code.*pg_control.*restore it from a backup"):
        server.start()


def test_a_taken_port_stops_before_anything_is_written(server: PostgresServer) -> None:
    other = PostgresServer(server.folder.with_name("other"), server.port)
    server.start()
    with pytest.raises(PortTaken, match="wanted for PostgreSQL"):
        other.start()
    assert not other.data.exists()


def test_a_first_start_that_failed_leaves_nothing_half_done(
    server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runyard_stack.embedded.postgres._environment", lambda: {"PATH": "", "PGDATA": "x"})
    monkeypatch.setattr("runyard_stack.embedded.postgres.SUPERUSER", "pg_reserved")
    with pytest.raises(EmbeddedError, match="initdb could not create"):
        server.start()
    assert list(server.folder.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to step down")
def test_root_steps_down_and_keeps_the_cluster_closed(server: PostgresServer) -> None:
    server.folder.parent.chmod(0o700)
    server.start()
    assert server.data.stat().st_uid != 0
    assert stat.S_IMODE(server.data.stat().st_mode) == 0o700
    assert any(str(server.folder.parent) in notice for notice in server.notices)


def test_folders_are_opened_for_passing_through_only(folder: Path) -> None:
    folder.chmod(0o700)
    assert let_pass(folder / "below") == [folder]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o701
    assert let_pass(folder / "below") == []


def test_a_port_that_nobody_holds_passes() -> None:
    require_free(free_port(), "a test")


def test_only_plain_names_reach_statements() -> None:
    with pytest.raises(ValueError, match="not a plain identifier"):
        plain('x"; DROP DATABASE runyard')

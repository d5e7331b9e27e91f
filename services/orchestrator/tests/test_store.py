"""The tables: nothing but what the log says."""

import asyncio
from collections.abc import Sequence
from typing import Any

from nats.aio.client import Client
from sqlalchemy import select

from runyard_chassis import Database
from runyard_events import EventLog, new_id
from runyard_events.commands import CancelRun, CreateSession, DeleteSession, SteerRun
from runyard_events.subjects import run_subject
from runyard_orchestrator.adapters.projections import Projections
from runyard_orchestrator.app import PACKAGE
from runyard_orchestrator.store.tables import SCHEMA, metadata

from .conftest import World, serving

TABLES = ("sessions", "runs", "worktrees")


async def contents(database: Database, tables: Sequence[str] = TABLES) -> dict[str, list[tuple[Any, ...]]]:
    found: dict[str, list[tuple[Any, ...]]] = {}
    async with database.session() as db:
        for name in tables:
            table = metadata.tables[name]
            rows = await db.execute(select(table).order_by(*table.primary_key))
            found[name] = [tuple(row) for row in rows]
    return found


async def a_busy_day(world: World) -> None:
    session_id = await world.session(title="A day", model="large")
    run_id = await world.prompt(session_id)
    run = await asyncio.wait_for(world.runner.started(run_id), 20)
    await run.ask("approval-1")
    await world.ask(SteerRun(session_id=session_id, run_id=run_id, text="faster"))
    waiting = await world.prompt(session_id)
    await world.ask(CancelRun(session_id=session_id, run_id=waiting))
    await run.complete()
    last = await world.prompt(session_id)
    await asyncio.wait_for(world.runner.started(last), 20)
    world.workspace.fails = True
    await world.ask(CreateSession(session_id=new_id(), workspace_id=world.workspace_id, runner_type="codex"))
    world.workspace.fails = False
    gone = await world.session()
    await world.ask(DeleteSession(session_id=gone))
    await world.seen(gone, "worktree.removed")


async def caught_up(database: Database, client: Client, log: EventLog) -> None:
    projections = Projections(client, log, database)
    task = asyncio.create_task(projections.run())
    await asyncio.wait_for(projections.caught_up(), 20)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_dropped_and_replayed_the_tables_come_out_the_same(surroundings: World, nats_client: Client) -> None:
    async with serving(surroundings.settings):
        await a_busy_day(surroundings)
    database = Database(surroundings.settings.database_url, SCHEMA)
    await caught_up(database, nats_client, surroundings.log)
    live = await contents(database)
    assert [len(live[name]) for name in TABLES] == [3, 3, 3]

    await database.downgrade(PACKAGE)
    await database.migrate(PACKAGE)
    await caught_up(database, nats_client, surroundings.log)

    assert await contents(database) == live
    await database.close()


async def test_the_migrations_make_what_the_tables_declare(database_url: str) -> None:
    database = Database(database_url, SCHEMA)
    await database.migrate(PACKAGE)
    assert await database.drift(PACKAGE, metadata) == []
    await database.downgrade(PACKAGE, "-1")
    await database.migrate(PACKAGE)
    await database.close()


async def test_bytes_that_are_no_event_do_not_stop_a_run(world: World, nats_client: Client) -> None:
    session_id = await world.session()
    run_id = await world.prompt(session_id)
    run = await asyncio.wait_for(world.runner.started(run_id), 20)
    await nats_client.request(run_subject(world.tenant, session_id, run_id, "lifecycle"), b"not an event")

    reply = await world.ask(CancelRun(session_id=session_id, run_id=run_id))

    assert reply.result["status"] == "cancelling"
    run.last = reply.seq or 0
    await run.cancelled()


async def test_the_inspection_routes_show_a_tenant_its_own(surroundings: World) -> None:
    async with serving(surroundings.settings) as service:
        session_id = await surroundings.session()
        run_id = await surroundings.prompt(session_id)
        await asyncio.wait_for(surroundings.runner.started(run_id), 20)
        async with surroundings.http(service) as http:
            sessions = (await http.get("/sessions")).json()["items"]
            runs = (await http.get("/runs", params={"session_id": session_id})).json()["items"]
            ready = await http.get("/ready")
            stranger = await http.get("/sessions", headers={"Authorization": "Bearer x"})
    assert [one["session_id"] for one in sessions] == [session_id]
    assert [(one["run_id"], one["session_id"]) for one in runs] == [(run_id, session_id)]
    assert (ready.status_code, stranger.status_code) == (200, 401)

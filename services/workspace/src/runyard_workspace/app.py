"""Wires the workspace service; nothing is global."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

from fastapi import FastAPI
from nats.aio.client import Client

from runyard_chassis import CommandServer, Database, Service, connect_service, create_app, get_logger
from runyard_events import CommandBus, EventLog, Projector
from runyard_events.tasks import in_background
from runyard_workspace.api import ROUTERS, FileLimits, SessionTrees
from runyard_workspace.handlers.abandoned import AbandonedImports
from runyard_workspace.handlers.effects import Effects
from runyard_workspace.handlers.in_step import InStep
from runyard_workspace.histories import Histories
from runyard_workspace.projection import SUBJECTS, apply
from runyard_workspace.settings import MIB, Settings
from runyard_workspace.store import projection_checkpoints
from runyard_workspace.tools import Tools
from runyard_workspace.views import Views
from runyard_workspace.work import Work

NAME = "workspace"
PACKAGE = "runyard_workspace"
COMMANDS_AT_ONCE = 64
"""More than imports that run at once: those that wait for their turn must not hold up a worktree."""

_log = get_logger(__name__)


def build(settings: Settings) -> Service:
    """The service, ready to be served; it connects when it starts."""
    tools = Tools.of(settings)
    database = Database(settings.database_url, NAME)
    server = CommandServer(settings, NAME, concurrency=COMMANDS_AT_ONCE)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(database.close)
            client = await connect_service(NAME, settings)
            stack.push_async_callback(client.close)
            await database.migrate(PACKAGE)
            await sweep(tools)
            log = EventLog(client)
            histories = Histories(log)
            projectors = build_projectors(log, client, database)
            app.state.views = views = Views(database, log, projectors)
            app.state.trees = build_trees(settings, tools, views)
            work = Work.of(settings, tools, histories, CommandBus(client))
            app.state.credentials = work.credentials
            abandoned = AbandonedImports(
                database=database, histories=histories, imports=work.imports, cloner=tools.cloner, layout=tools.layout,
                grace_seconds=settings.import_abandoned_seconds,
            )  # fmt: skip
            in_step = InStep(database=database, fetches=work.fetches, seconds=settings.fetch_every_seconds)
            effects = Effects(client, work.checkpoints.handle)
            projections = (projector.run() for projector in projectors.values())
            running = (*projections, effects.run(), abandoned.run(), in_step.run())
            for task in running:
                await stack.enter_async_context(in_background(task))
            work.register(server)
            await stack.enter_async_context(server)
            yield

    app = create_app(
        NAME,
        settings=settings,
        ready={"database": database.ping, "nats": server.check},
        lifespan=lifespan,
        description="Repositories, worktrees, files, diffs and checkpoints.",
    )
    for router in ROUTERS:
        app.include_router(router)
    return Service(NAME, app, settings.host, settings.port, settings.shutdown_grace_seconds)


def build_projectors(log: EventLog, client: Client, database: Database) -> dict[str, Projector]:
    """The service's projections, by the table that they fill."""
    return {
        table: Projector(
            name=f"{NAME}-{table}",
            log=log,
            client=client,
            subjects=[subject],
            sessions=database.session,
            checkpoints=projection_checkpoints,
            apply=apply,
        )
        for table, subject in SUBJECTS.items()
    }


def build_trees(settings: Settings, tools: Tools, views: Views) -> SessionTrees:
    """The sessions' files, as the routes see them."""
    return SessionTrees(
        views=views,
        layout=tools.layout,
        listing=tools.listing,
        snapshots=tools.snapshots,
        diffs=tools.diffs,
        limits=FileLimits(read_bytes=settings.file_read_kib * 1024, write_bytes=settings.file_write_mib * MIB),
    )


async def sweep(tools: Tools) -> None:
    """Takes away what a service that was killed has left: unfinished clones and short-lived files."""
    await asyncio.to_thread(tools.layout.root.mkdir, parents=True, exist_ok=True)
    swept = await tools.staging.sweep() + await tools.scratch.sweep()
    if swept:
        _log.info("staging.swept", folders=swept)

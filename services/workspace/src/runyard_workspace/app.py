"""Wires the workspace service; nothing is global."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from fastapi import FastAPI
from nats.aio.client import Client

from runyard_chassis import CommandServer, Database, Service, create_app, get_logger
from runyard_events import CommandBus, EventLog, Projector, connect
from runyard_events.commands import (
    DetectProject,
    ImportWorkspace,
    OpenPreviewTree,
    OpenWorktree,
    PrepareSandbox,
    ReleaseSandbox,
    RemovePreviewTree,
    RemoveWorktree,
)
from runyard_events.tasks import end_tasks
from runyard_workspace.adapters.projects import Projects
from runyard_workspace.api import ROUTERS, FileLimits, SessionTrees
from runyard_workspace.handlers.checkpoints import Checkpoints
from runyard_workspace.handlers.effects import Effects
from runyard_workspace.handlers.imports import ImportRules, Imports
from runyard_workspace.handlers.previews import PreviewTrees
from runyard_workspace.handlers.projects import ProjectDetection
from runyard_workspace.handlers.sandboxes import SandboxGit
from runyard_workspace.handlers.worktrees import SessionFiles
from runyard_workspace.histories import Histories
from runyard_workspace.projection import SUBJECTS, apply
from runyard_workspace.settings import MIB, Settings
from runyard_workspace.store import projection_checkpoints
from runyard_workspace.tools import Tools
from runyard_workspace.views import Views

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
            client = await _connect(settings)
            stack.push_async_callback(client.close)
            await database.migrate(PACKAGE)
            await sweep(tools)
            log = EventLog(client)
            histories = Histories(log)
            projectors = build_projectors(log, client, database)
            app.state.trees = build_trees(settings, tools, Views(database, log, projectors))
            sandboxes = SandboxGit(
                histories=histories, sandboxes=tools.sandboxes, commits=tools.commits, layout=tools.layout
            )
            checkpoints = Checkpoints(
                histories=histories,
                snapshots=tools.snapshots,
                diffs=tools.diffs,
                sandboxes=sandboxes,
                layout=tools.layout,
            )
            effects = Effects(client, checkpoints.handle)
            for work in (*(projector.run() for projector in projectors.values()), effects.run()):
                _in_background(stack, work)
            register_imports(server, settings, tools, histories, CommandBus(client))
            register_trees(server, tools, histories, sandboxes)
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


def register_imports(
    server: CommandServer, settings: Settings, tools: Tools, histories: Histories, bus: CommandBus
) -> None:
    """Gives the commands about imports their handler."""
    rules = ImportRules(
        schemes=settings.import_schemes,
        local_roots=settings.local_roots,
        at_once=settings.imports_at_once,
        reply_seconds=settings.import_reply_seconds,
    )
    imports = Imports(histories=histories, cloner=tools.cloner, layout=tools.layout, bus=bus, rules=rules)
    server.on(ImportWorkspace)(imports.handle)


def register_trees(server: CommandServer, tools: Tools, histories: Histories, sandboxes: SandboxGit) -> None:
    """Gives the commands about files of sessions and previews their handlers."""
    files = SessionFiles(histories=histories, worktrees=tools.worktrees, sandboxes=sandboxes, layout=tools.layout)
    server.on(OpenWorktree)(files.open)
    server.on(RemoveWorktree)(files.remove)
    server.on(PrepareSandbox)(sandboxes.prepare)
    server.on(ReleaseSandbox)(sandboxes.release)
    previews = PreviewTrees(
        histories=histories, worktrees=tools.worktrees, branches=tools.branches, layout=tools.layout
    )
    server.on(OpenPreviewTree)(previews.open)
    server.on(RemovePreviewTree)(previews.remove)
    detection = ProjectDetection(histories=histories, projects=Projects(), layout=tools.layout)
    server.on(DetectProject)(detection.detect)


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


async def _connect(settings: Settings) -> Client:
    password = settings.nats_password.get_secret_value() if settings.nats_password else None
    return await connect(settings.nats_url, service=NAME, user=settings.nats_user, password=password)


def _in_background(stack: AsyncExitStack, work: Coroutine[Any, Any, None]) -> None:
    task = asyncio.ensure_future(work)

    stack.push_async_callback(end_tasks, task)

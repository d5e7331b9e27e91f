"""Wires the gateway; nothing is global."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from fastapi import FastAPI
from nats.aio.client import Client

from runyard_chassis import Database, Service, connect_service, create_app
from runyard_events.commands import CommandBus
from runyard_events.log import EventLog
from runyard_events.projector import Projector
from runyard_events.stored import StoredEvent
from runyard_events.tasks import in_background
from runyard_gateway.adapters.orchestrator import OrchestratorService
from runyard_gateway.adapters.outputs import Outputs
from runyard_gateway.adapters.probes import Probes
from runyard_gateway.adapters.spending import OutputBudget
from runyard_gateway.adapters.workspace import WorkspaceService
from runyard_gateway.api.container_webhooks import output_limit
from runyard_gateway.api.routes import ROUTERS, install_error_handlers
from runyard_gateway.commands import Commands
from runyard_gateway.consistency import Consistency
from runyard_gateway.containers_door import ContainersDoor
from runyard_gateway.gateway import Gateway
from runyard_gateway.imports import Imports
from runyard_gateway.previews.access import Access
from runyard_gateway.previews.addresses import PreviewAddresses
from runyard_gateway.previews.exchange import Limits, new_session
from runyard_gateway.previews.layer import PreviewHosts, Proxy
from runyard_gateway.previews.passes import Passes
from runyard_gateway.projections import archive, state
from runyard_gateway.projections.tables import checkpoints
from runyard_gateway.settings import Settings
from runyard_gateway.store.containers import Containers
from runyard_gateway.store.previews import Previews
from runyard_gateway.store.records import Records
from runyard_gateway.streaming.extent import LogExtent
from runyard_gateway.streaming.hub import Hub
from runyard_gateway.streaming.source import Source

NAME = "gateway"
PACKAGE = "runyard_gateway"


def build(settings: Settings) -> Service:
    """The service, ready to be served; it connects when it starts."""
    database = Database(settings.database_url, NAME, pool_size=8)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(database.close)
            client = await connect_service(NAME, settings)
            stack.push_async_callback(client.close)
            await database.migrate(PACKAGE)
            gateway = app.state.gateway = await _start(stack, settings, client, database)
            proxy = await _proxy(stack, settings, gateway, app.state.stopping)
            await stack.enter_async_context(in_background(_serve_previews(app, proxy, gateway)))
            yield

    app = create_app(
        NAME,
        settings=settings,
        ready={"database": database.ping, "projection": lambda: _is_caught_up(app)},
        lifespan=lifespan,
        description=_DESCRIPTION,
        special_body_bytes=output_limit,
    )
    install_error_handlers(app)
    for router in ROUTERS:
        app.include_router(router)
    app.add_middleware(PreviewHosts, addresses=addresses_of(settings))
    return Service(NAME, app, settings.host, settings.port, settings.shutdown_grace_seconds)


def addresses_of(settings: Settings) -> PreviewAddresses:
    """Where previews are to be found."""
    own = settings.port if settings.preview_scheme == "http" else None
    return PreviewAddresses(settings.preview_domain, settings.preview_scheme, settings.preview_public_port or own)


async def _serve_previews(app: FastAPI, proxy: Proxy, gateway: Gateway) -> None:
    """Not by rows of before the start: where a preview was then, another team's may be by now."""
    await gateway.consistency.begun()
    app.state.preview_proxy = proxy


async def _proxy(stack: AsyncExitStack, settings: Settings, gateway: Gateway, stopping: asyncio.Event) -> Proxy:
    limits = Limits(
        body_bytes=settings.preview_body_bytes,
        first_byte_seconds=settings.preview_first_byte_seconds,
        idle_seconds=settings.preview_idle_seconds,
    )
    return Proxy(
        addresses=gateway.preview_addresses,
        access=gateway.preview_access,
        session=await stack.enter_async_context(new_session(limits)),
        limits=limits,
        stopping=stopping,
        cookie_seconds=settings.preview_cookie_seconds,
        open_requests={},
    )


async def _start(stack: AsyncExitStack, settings: Settings, client: Client, database: Database) -> Gateway:
    log, extent = EventLog(client), LogExtent(client)
    hub = Hub(
        log,
        is_state=state.is_read,
        heartbeat_seconds=settings.stream_heartbeat_seconds,
        life_seconds=settings.stream_life_seconds,
        queue_events=settings.stream_queue_events,
        queue_bytes=settings.stream_queue_bytes,
    )
    previews, passes = Previews(database), Passes(settings.jwt_secret_key.get_secret_value())
    access = Access(previews, passes, seconds=settings.preview_believe_seconds)
    rows, past = build_projectors(
        log, client, database, written=access.written, archive_pause_seconds=settings.archive_pause_seconds
    )
    consistency = Consistency(
        state=rows,
        archive=past,
        hub=hub,
        extent=extent,
        timeout_seconds=settings.projection_timeout_seconds,
        patience_seconds=settings.read_patience_seconds,
    )
    workspace, orchestrator = WorkspaceService(settings.workspace_url), OrchestratorService(settings.orchestrator_url)
    for service in (workspace, orchestrator):
        await service.open()
        stack.push_async_callback(service.close)
    for work in (hub.run(), rows.run(), past.run()):
        await stack.enter_async_context(in_background(work))
    records = Records(database)
    commands = Commands(CommandBus(client), consistency, timeout_seconds=settings.command_timeout_seconds)
    return Gateway(
        settings=settings,
        records=records,
        containers=Containers(database),
        previews=previews,
        preview_access=access,
        preview_addresses=addresses_of(settings),
        passes=passes,
        commands=commands,
        imports=Imports(
            commands=commands,
            consistency=consistency,
            records=records,
            hub=hub,
            wait_seconds=settings.import_wait_seconds,
        ),
        consistency=consistency,
        hub=hub,
        source=Source(log, hub),
        extent=extent,
        workspace=workspace,
        orchestrator=orchestrator,
        outputs=Outputs(client),
        door=ContainersDoor(settings, client, log, OutputBudget(database, settings.session_outputs_mib * 1024**2)),
        probes=Probes(settings.services),
    )


def build_projectors(
    log: EventLog,
    client: Client,
    database: Database,
    *,
    written: Callable[[Sequence[StoredEvent]], None] | None = None,
    archive_pause_seconds: float = 0,
) -> tuple[Projector, Projector]:
    """The state projection, which tells `written` what it has committed, and the archive projection."""
    rows = Projector(
        name=state.NAME,
        log=log,
        client=client,
        subjects=state.SUBJECTS,
        sessions=database.session,
        checkpoints=checkpoints,
        apply=state.apply_state,
        after_commit=written,
    )
    past = Projector(
        name=archive.NAME,
        log=log,
        client=client,
        subjects=archive.SUBJECTS,
        sessions=database.session,
        checkpoints=checkpoints,
        apply=archive.apply_archive,
        pause_seconds=archive_pause_seconds,
    )
    return rows, past


async def _is_caught_up(app: FastAPI) -> bool:
    gateway = getattr(app.state, "gateway", None)
    return isinstance(gateway, Gateway) and gateway.consistency.caught_up


_DESCRIPTION = """
Run coding agents on your repositories and watch them: workspaces, sessions, runs, and every event of
them as a stream that can be taken up again from any place.

Errors are `application/problem+json`. Every write answers with `X-Runyard-Seq`, the place of its last
event in the log; reads take it as `min_seq`.
"""

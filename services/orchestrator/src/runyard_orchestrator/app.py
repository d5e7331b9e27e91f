"""Wires the orchestrator; nothing is global."""

from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from fastapi import FastAPI
from nats.aio.client import Client
from prometheus_client import Counter

from runyard_chassis import CommandServer, Database, Service, connect_service, create_app
from runyard_chassis.tokens import SESSION_AUDIENCE, SESSION_KEY, Tokens, derive_key
from runyard_events import CommandBus, EventLog, Leases, Redactor
from runyard_events.leases import BUCKET as LEASES
from runyard_orchestrator import api, preview_api, sandbox_api
from runyard_orchestrator.adapters.doorkeeper import Doorkeeper
from runyard_orchestrator.adapters.errands import Errands
from runyard_orchestrator.adapters.former_engine import leave_former_engine
from runyard_orchestrator.adapters.leadership import Leadership
from runyard_orchestrator.adapters.ledger import Ledger
from runyard_orchestrator.adapters.projections import Projections
from runyard_orchestrator.adapters.provisioners import provisioner_of
from runyard_orchestrator.adapters.rest_file import RestFile
from runyard_orchestrator.domain.decisions import Limits
from runyard_orchestrator.domain.repair import Patience
from runyard_orchestrator.handlers.commands import Commands
from runyard_orchestrator.handlers.desk import Desk
from runyard_orchestrator.handlers.keeping import kept_going
from runyard_orchestrator.handlers.messages import Messages
from runyard_orchestrator.handlers.process import Process
from runyard_orchestrator.handlers.reconciler import Reconciler
from runyard_orchestrator.preview_app import previewing
from runyard_orchestrator.sandbox_app import Sandboxing, errands_of, installation_of, sandboxing
from runyard_orchestrator.settings import Settings
from runyard_orchestrator.store.reading import Rows
from runyard_orchestrator.store.tables import SCHEMA
from runyard_sandbox import Provisioner

NAME = "orchestrator"
PACKAGE = "runyard_orchestrator"
_LEADER_IDLE_SECONDS = 30.0


def build(settings: Settings, provisioner: Provisioner | None = None) -> Service:
    """The service, ready to be served; it connects when it starts.

    `provisioner` is what the settings ask for unless it is given.
    """
    provisioner = provisioner or provisioner_of(settings)
    database = Database(settings.database_url, SCHEMA)
    server = CommandServer(settings, NAME, concurrency=settings.command_concurrency)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(database.close)
            client = await connect_service(NAME, settings)
            stack.push_async_callback(client.close)
            await database.migrate(PACKAGE)
            log, rows = EventLog(client), Rows(database)
            projections = Projections(client, log, database)
            redactor, bus = settings.redactor, CommandBus(client)
            desk = Desk(
                log=log,
                ledger=Ledger(log, redactor),
                rows=rows,
                projections=projections,
                errands=Errands(
                    bus,
                    rows,
                    errands_of(client, database, installation_of(settings)),
                    has_containers=provisioner is not None,
                ),
                installation=installation_of(settings),
            )
            idle_seconds = max(_LEADER_IDLE_SECONDS, 4 * settings.reconcile_seconds)
            leadership = Leadership(database, "runyard-reconciler", idle_seconds=idle_seconds)
            stack.push_async_callback(leadership.give_up)
            boxes = sandboxing(
                settings,
                client=client,
                log=log,
                database=database,
                desk=desk,
                leadership=leadership,
                provisioner=provisioner,
            )
            if provisioner is not None:
                stack.push_async_callback(provisioner.close)
            stack.push_async_callback(boxes.close)
            previews = previewing(
                settings,
                stack,
                client=client,
                log=log,
                database=database,
                sessions=desk,
                leadership=leadership,
                installation=installation_of(settings),
                provisioner=provisioner,
            )
            app.state.rows, app.state.sandboxing, app.state.previews = rows, boxes, previews
            await stack.enter_async_context(kept_going(projections=projections.run, previews=previews.projector.run))
            await projections.caught_up()
            await previews.projector.caught_up.wait()
            await leave_former_engine(settings, boxes.rows)
            await boxes.resting.at_the_start()
            await previews.shutdown.at_the_start()
            RestFile(settings.sandbox_rest_file).remove()
            stack.push_async_callback(boxes.resting.at_the_end)
            await _open_door(settings, stack, client, log)
            process = Process(client, desk)
            reconciler = await _reconciler(settings, client, desk, leadership)
            reconciler.ended = _counter(app)
            projections.changed = boxes.keeper.wake if provisioner else None
            projections.rules_changed = boxes.keeper.look_around
            loops = {"process": process.run, "reconciler": reconciler.run, "sandboxes": boxes.keeper.run}
            loops["preview-keeper"] = previews.keeper.run
            await stack.enter_async_context(kept_going(**loops))
            _commands(settings, desk, log, redactor).register(server)
            boxes.commands.register(server)
            Messages(desk, log, redactor).register(server)
            previews.commands.register(server)
            await stack.enter_async_context(server)
            yield

    app = create_app(
        NAME,
        settings=settings,
        ready={"database": database.ping, "nats": server.check},
        details={"sandboxes": lambda: _engine_status(app, provisioner)},
        lifespan=lifespan,
        description="Sessions and runs: who may run, who waits, and what became of them.",
    )
    app.include_router(api.router)
    app.include_router(preview_api.router)
    app.include_router(sandbox_api.router)
    return Service(NAME, app, settings.host, settings.port, settings.shutdown_grace_seconds)


async def _open_door(settings: Settings, stack: AsyncExitStack, client: Client, log: EventLog) -> None:
    if seed := settings.nats_issuer_seed.get_secret_value():
        tokens = Tokens(derive_key(settings.jwt_secret_key, SESSION_KEY), SESSION_AUDIENCE)
        door = Doorkeeper(client, log, tokens=tokens, seed=seed, stay_seconds=settings.nats_stay_seconds)
        stack.push_async_callback(door.close)
        await door.open()


async def _reconciler(settings: Settings, client: Client, desk: Desk, leadership: Leadership) -> Reconciler:
    patience = Patience(
        lease_grace=settings.lease_grace_seconds,
        cancel_grace=settings.cancel_grace_seconds,
        time_limit_margin=settings.time_limit_margin_seconds,
        start_limit=settings.start_limit_seconds,
        session_limit=settings.session_limit_seconds,
        resend=settings.resend_seconds,
        container_lease_grace=settings.sandbox_lease_grace_seconds,
    )
    return Reconciler(
        client=client,
        desk=desk,
        leases=Leases(await client.jetstream().key_value(LEASES)),
        leadership=leadership,
        patience=patience,
        every_seconds=settings.reconcile_seconds,
    )


def _commands(settings: Settings, desk: Desk, log: EventLog, redactor: Redactor) -> Commands:
    return Commands(
        desk,
        log,
        redactor=redactor,
        limits=Limits(
            time_limit_seconds=settings.run_time_limit_seconds,
            longest_time_limit_seconds=settings.longest_run_time_limit_seconds,
            longest_queue=settings.longest_queue,
        ),
        runner_types=frozenset(settings.runner_types),
        session_wait_seconds=settings.session_wait_seconds,
    )


def _counter(app: FastAPI) -> Callable[[str], None]:
    repairs = Counter(
        "orchestrator_runs_ended_by_reconciler_total",
        "Runs that nobody else ended.",
        ["type"],
        registry=app.state.metrics,
    )
    return lambda event_type: repairs.labels(event_type).inc()


def _engine_status(app: FastAPI, provisioner: Provisioner | None) -> str:
    if provisioner is None:
        return "off"
    boxes: Sandboxing | None = getattr(app.state, "sandboxing", None)
    return boxes.keeper.engine.status if boxes else "not started"

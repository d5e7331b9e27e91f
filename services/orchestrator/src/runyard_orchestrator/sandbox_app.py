"""Wires what looks after sandboxes."""

from dataclasses import dataclass
from datetime import timedelta

from nats.aio.client import Client

from runyard_chassis import Database
from runyard_chassis.tokens import SESSION_AUDIENCE, SESSION_KEY, Tokens, derive_key
from runyard_events import CommandBus, EventLog, Redactor
from runyard_events.topology import runner_of
from runyard_orchestrator.adapters.container_errands import ContainerErrands
from runyard_orchestrator.adapters.containers import Containers, Outfit, pulse_check
from runyard_orchestrator.adapters.homes import Homes, owner_of
from runyard_orchestrator.adapters.leadership import Leadership
from runyard_orchestrator.adapters.provisioners import decisions_token
from runyard_orchestrator.adapters.rest_file import RestFile
from runyard_orchestrator.adapters.sandbox_ledger import SandboxLedger
from runyard_orchestrator.adapters.way_out import way_out_of
from runyard_orchestrator.domain.rules import Installation
from runyard_orchestrator.domain.situation import Patience
from runyard_orchestrator.handlers.desk import Desk
from runyard_orchestrator.handlers.egress import Egress
from runyard_orchestrator.handlers.resting import Resting
from runyard_orchestrator.handlers.sandbox_commands import SandboxCommands
from runyard_orchestrator.handlers.sandbox_steps import Steps
from runyard_orchestrator.handlers.sandboxes import Sandboxes
from runyard_orchestrator.handlers.telemetry import Reports, Telemetry
from runyard_orchestrator.handlers.warm_pool import WarmPool
from runyard_orchestrator.settings import Settings
from runyard_orchestrator.store.reading_sandboxes import SandboxRows
from runyard_sandbox import Health, Limits, Provisioner
from runyard_sandbox.provisioner import MIB

HOMES = "sandbox"
"""The folder of agents' homes, below `agents_root`."""


@dataclass(frozen=True, slots=True)
class Sandboxing:
    """What the rest of the service needs of sandboxes."""

    installation: Installation
    rows: SandboxRows
    ledger: SandboxLedger
    homes: Homes
    containers: Containers | None
    keeper: Sandboxes
    resting: Resting
    commands: SandboxCommands
    telemetry: Telemetry | None
    egress: Egress
    decisions_token: str
    redactor: Redactor

    async def close(self) -> None:
        """Stops watching."""
        if self.telemetry is not None:
            await self.telemetry.close()
        await self.egress.close()


def installation_of(settings: Settings) -> Installation:
    """What this installation offers."""
    image = settings.sandbox_image
    images = {kind: image.replace("{runner}", runner_of(kind)) for kind in settings.runner_types}
    return Installation(
        method="process" if settings.sandbox == "off" else settings.sandbox,
        enabled=settings.sandbox_default,
        required=settings.sandbox_required,
        process_fallback=settings.sandbox_process_fallback,
        egress=settings.allowed_hosts,
        idle_stop_seconds=settings.sandbox_idle_seconds,
        runtime=settings.sandbox_runtime,
        images={**images, **settings.sandbox_images},
    )


def errands_of(client: Client, database: Database, installation: Installation) -> ContainerErrands:
    """What is seen to before starts are sent."""
    return ContainerErrands(client, CommandBus(client), SandboxRows(database), installation)


def sandboxing(
    settings: Settings,
    *,
    client: Client,
    log: EventLog,
    database: Database,
    desk: Desk,
    leadership: Leadership,
    provisioner: Provisioner | None,
) -> Sandboxing:
    """Everything about sandboxes, ready to be run; without a provisioner it only tidies up behind former ones."""
    rows, ledger = SandboxRows(database), SandboxLedger(log, settings.redactor)
    owner = owner_of(settings.sandbox_user)
    homes = Homes(settings.agents_root / HOMES, owner)
    installation = installation_of(settings)
    errands = errands_of(client, database, installation)
    containers, way_out = None, way_out_of(settings, database, provisioner)
    if provisioner is not None:
        tokens = Tokens(derive_key(settings.jwt_secret_key, SESSION_KEY), SESSION_AUDIENCE)
        bus = CommandBus(client)
        outfit = outfit_of(settings, owner)
        containers = Containers(provisioner, bus=bus, homes=homes, tokens=tokens, way_out=way_out, outfit=outfit)
    steps = Steps(
        client=client,
        desk=desk,
        ledger=ledger,
        homes=homes,
        errands=errands,
        containers=containers,
        at_once=settings.sandbox_at_once,
    )
    keeper = Sandboxes(
        desk=desk,
        rows=rows,
        steps=steps,
        homes=homes,
        containers=containers,
        installation=installation,
        patience=_patience(settings),
        leadership=leadership,
        pool=WarmPool(rows, settings.sandbox_pool),
        every_seconds=settings.reconcile_seconds,
    )
    commands = SandboxCommands(desk, rows, ledger, installation=installation)
    reports = Reports(log, settings.redactor)
    telemetry = None if provisioner is None else Telemetry(provisioner, reports)
    if telemetry is not None:
        keeper.attend, keeper.stood_down = telemetry.attend, telemetry.attend_none
    return Sandboxing(
        installation=installation,
        rows=rows,
        ledger=ledger,
        homes=homes,
        containers=containers,
        keeper=keeper,
        resting=Resting(
            RestFile(settings.sandbox_rest_file), rows=rows, keeper=keeper, ledger=ledger, provisioner=provisioner
        ),
        commands=commands,
        telemetry=telemetry,
        egress=Egress(provisioner, rows, installation, reports, way_out.passes),
        decisions_token=decisions_token(settings),
        redactor=settings.redactor,
    )


def _patience(settings: Settings) -> Patience:
    return Patience(
        restarts=settings.sandbox_restarts,
        backoff=settings.sandbox_backoff_seconds,
        engine_away=settings.sandbox_engine_seconds,
        take_up=settings.sandbox_lease_grace_seconds,
        archive_after=settings.sandbox_archive_seconds,
        token_lifetime=settings.sandbox_token_days * 24 * 3600,
    )


def outfit_of(settings: Settings, owner: str) -> Outfit:
    """What every container of a session gets here."""
    return Outfit(
        user=owner,
        limits=Limits(
            settings.sandbox_memory_mb * MIB,
            settings.sandbox_cpus,
            settings.sandbox_processes,
            reserved_memory_bytes=settings.sandbox_memory_mb * MIB // 4,
            reserved_cpus=settings.sandbox_cpus / 4,
        ),
        nats_url=settings.sandbox_nats_url,
        llm_gateway_url=settings.sandbox_llm_gateway_url,
        app_url=settings.sandbox_app_url,
        token_lifetime=timedelta(days=settings.sandbox_token_days),
        health=_health(settings),
        environment=settings.sandbox_environment,
    )


def _health(settings: Settings) -> Health | None:
    """None with Dokploy, whose swarm ends by itself what is unhealthy: nobody would be told why."""
    if settings.sandbox == "dokploy":
        return None
    return Health(pulse_check(), every_seconds=settings.sandbox_health_seconds, start_seconds=0)

"""Wires what looks after previews."""

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from nats.aio.client import Client

from runyard_chassis import Database
from runyard_events import CommandBus, EventLog, Projector, StoredEvent
from runyard_events.catalogue import Method
from runyard_orchestrator.adapters.homes import owner_of
from runyard_orchestrator.adapters.leadership import Leadership
from runyard_orchestrator.adapters.preview_boxes import PreviewBoxes
from runyard_orchestrator.adapters.preview_files import PreviewFiles
from runyard_orchestrator.adapters.preview_images import PreviewImages
from runyard_orchestrator.adapters.preview_ledger import PreviewLedger
from runyard_orchestrator.adapters.preview_pages import PreviewPages
from runyard_orchestrator.adapters.rest_file import RestFile
from runyard_orchestrator.adapters.way_out import way_out_of
from runyard_orchestrator.domain.preview_upkeep import Patience
from runyard_orchestrator.domain.rules import Installation
from runyard_orchestrator.handlers.desk import Desk
from runyard_orchestrator.handlers.preview_commands import PreviewCommands
from runyard_orchestrator.handlers.preview_desk import PreviewDesk
from runyard_orchestrator.handlers.preview_logs import PreviewLogs
from runyard_orchestrator.handlers.preview_shutdown import PreviewShutdown
from runyard_orchestrator.handlers.preview_stats import PreviewStats
from runyard_orchestrator.handlers.previews import Previews
from runyard_orchestrator.handlers.telemetry import Reports
from runyard_orchestrator.settings import Settings
from runyard_orchestrator.store.previews import PREVIEW_EVENTS, PreviewKey, PreviewRows, apply_previews
from runyard_orchestrator.store.tables import checkpoints
from runyard_sandbox import Provisioner
from runyard_sandbox.builds import Builder
from runyard_sandbox.docker import DockerProvisioner
from runyard_sandbox.process import ProcessProvisioner, ProcessSettings

PROCESSES = "previews"
"""The folder of previews that are processes, below `agents_root`."""
_INSIDE = {"HOME": "/tmp", "npm_config_cache": "/tmp/.npm", "PIP_NO_CACHE_DIR": "1"}  # noqa: S108 - the box's own


@dataclass(frozen=True, slots=True)
class Previewing:
    """What the rest of the service needs of previews."""

    projector: Projector
    desk: PreviewDesk
    boxes: PreviewBoxes
    keeper: Previews
    shutdown: PreviewShutdown
    commands: PreviewCommands


def previewing(
    settings: Settings,
    stack: AsyncExitStack,
    *,
    client: Client,
    log: EventLog,
    database: Database,
    sessions: Desk,
    leadership: Leadership,
    installation: Installation,
    provisioner: Provisioner | None,
) -> Previewing:
    """Everything about previews, ready to be run: processes where they are allowed, containers where there are any."""
    engines: dict[Method, Provisioner] = {}
    if settings.preview_processes:
        processes = ProcessProvisioner(ProcessSettings(folder=settings.agents_root / PROCESSES))
        stack.push_async_callback(processes.close)
        engines["process"] = processes
    if provisioner is not None:
        engines[provisioner.method] = provisioner
    environment: dict[Method, Mapping[str, str]] = {method: _environment(settings, method) for method in engines}
    boxes = PreviewBoxes(engines, environment, way_out_of(settings, database, provisioner))
    pages = PreviewPages(timeout_seconds=settings.preview_health_timeout_seconds)
    stack.push_async_callback(pages.close)
    rows = PreviewRows(database)
    projector = Projector(
        name="orchestrator-previews",
        log=log,
        client=client,
        subjects=[PREVIEW_EVENTS],
        sessions=database.session,
        checkpoints=checkpoints,
        apply=apply_previews,
        after_commit=lambda batch: _wake(keeper, batch),
    )
    desk = PreviewDesk(PreviewLedger(log, settings.redactor), rows, projector)
    commands = PreviewCommands(desk, log, sessions, lambda key: keeper.wake(key))  # noqa: PLW0108 - it is made below
    logs = PreviewLogs(log, boxes, settings.redactor)
    keeper = Previews(
        desk=desk,
        boxes=boxes,
        images=PreviewImages(_builders(settings, provisioner), logs.build, seconds=settings.preview_start_seconds),
        files=PreviewFiles(CommandBus(client), owner_of(settings.sandbox_user)),
        pages=pages,
        logs=logs,
        stats=PreviewStats(boxes, Reports(log, settings.redactor)),
        has_files=commands.has_files,
        installation=installation,
        leadership=leadership,
        patience=Patience(
            start=settings.preview_start_seconds,
            retries=settings.preview_health_retries,
            recoveries=settings.preview_recoveries,
        ),
        every_seconds=settings.reconcile_seconds,
        health_seconds=settings.preview_health_seconds,
    )
    shutdown = PreviewShutdown(desk, boxes, leadership, RestFile(settings.sandbox_rest_file))
    if not settings.preview_outlive:
        stack.push_async_callback(shutdown.at_the_end)
    return Previewing(projector, desk, boxes, keeper, shutdown, commands)


def _wake(keeper: Previews, batch: Sequence[StoredEvent]) -> None:
    for stored in batch:
        keeper.wake(PreviewKey(stored.address.tenant_id, stored.address.aggregate_id))


def _builders(settings: Settings, provisioner: Provisioner | None) -> Mapping[Method, Builder]:
    """Where images can be built: on engines that do it on a network and within limits that we say."""
    if not settings.preview_builds or not isinstance(provisioner, DockerProvisioner) or provisioner.images is None:
        return {}
    return {provisioner.method: provisioner.images}


def _environment(settings: Settings, method: Method) -> Mapping[str, str]:
    if method != "process":
        return {**_INSIDE, **settings.preview_environment}
    cache = settings.agents_root / "cache"
    found = {"npm_config_cache": str(cache / "npm"), "PIP_CACHE_DIR": str(cache / "pip")}
    # Where packages come from is said in the stack's own home; the preview gets a home of its own.
    home = Path.home()
    configured = {"NPM_CONFIG_USERCONFIG": home / ".npmrc", "PIP_CONFIG_FILE": home / ".config/pip/pip.conf"}
    found |= {name: str(path) for name, path in configured.items() if path.is_file()}
    return {**found, **settings.preview_environment}

"""The gateway's parts, wired once."""

from dataclasses import dataclass

from runyard_gateway.adapters.orchestrator import OrchestratorService
from runyard_gateway.adapters.outputs import Outputs
from runyard_gateway.adapters.probes import Probes
from runyard_gateway.adapters.workspace import WorkspaceService
from runyard_gateway.commands import Commands
from runyard_gateway.consistency import Consistency
from runyard_gateway.containers_door import ContainersDoor
from runyard_gateway.imports import Imports
from runyard_gateway.previews.access import Access
from runyard_gateway.previews.addresses import PreviewAddresses
from runyard_gateway.previews.passes import Passes
from runyard_gateway.settings import Settings
from runyard_gateway.store.containers import Containers
from runyard_gateway.store.previews import Previews
from runyard_gateway.store.records import Records
from runyard_gateway.streaming.extent import LogExtent
from runyard_gateway.streaming.hub import Hub
from runyard_gateway.streaming.source import Source


@dataclass(frozen=True)
class Gateway:
    """What routes use. There is one per app, made when the app starts."""

    settings: Settings
    records: Records
    containers: Containers
    previews: Previews
    preview_access: Access
    preview_addresses: PreviewAddresses
    passes: Passes
    commands: Commands
    imports: Imports
    consistency: Consistency
    hub: Hub
    source: Source
    extent: LogExtent
    workspace: WorkspaceService
    orchestrator: OrchestratorService
    outputs: Outputs
    door: ContainersDoor
    probes: Probes

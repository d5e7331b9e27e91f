"""Files and diffs are the workspace service's."""

from runyard_gateway.adapters.passing import ServiceBehind


class WorkspaceService(ServiceBehind):
    """A client of the workspace service."""

    def __init__(self, address: str) -> None:
        super().__init__("workspace", address)

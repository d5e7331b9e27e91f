"""What containers use and print now is the orchestrator's to say."""

from runyard_gateway.adapters.passing import ServiceBehind


class OrchestratorService(ServiceBehind):
    """A client of the orchestrator's own routes."""

    def __init__(self, address: str) -> None:
        super().__init__("orchestrator", address)

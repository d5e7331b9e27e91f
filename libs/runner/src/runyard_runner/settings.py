"""Settings that every runner has beside those of a service."""

from pathlib import Path

from pydantic import Field, SecretStr

from runyard_chassis.settings import ServiceSettings


class RunnerSettings(ServiceSettings):
    """`AGENTS_ROOT` keeps each session's agent state, `WORKSPACES_ROOT` bounds where agents may work."""

    workspaces_root: Path = Path("/workspaces")
    agents_root: Path = Path("/var/lib/runyard/agents")
    llm_gateway_url: str = "http://127.0.0.1:9108"
    run_token_key: SecretStr = SecretStr("")
    runner_slots: int = Field(default=64, ge=1, le=1000)
    """Runs at once in this process; further ones wait in the queue."""
    model: str | None = None
    """The model when a session names none."""
    max_attempts: int = Field(default=3, ge=1)
    start_timeout_seconds: float = 60.0
    interrupt_grace_seconds: float = 2.0
    stream_heartbeat_seconds: float = Field(default=10, gt=0)
    """How often a stream without events says that it is alive."""
    redaction_salt: SecretStr = SecretStr("")
    redaction_fingerprints: str = ""
    """Fingerprints of secrets that this process must never write, separated by commas."""

    def model_of(self, runner_type: str) -> str | None:  # noqa: ARG002 - a service may drive agents of several makers
        """The model of a session of this type that names none."""
        return self.model

"""Settings of runner-codex."""

from pathlib import Path
from typing import Literal

from pydantic import AliasChoices, Field

from runyard_runner.settings import RunnerSettings

Sandbox = Literal["read-only", "workspace-write", "danger-full-access"]


class Settings(RunnerSettings):
    """`CODEX_SANDBOX_TYPE` is the agent's own sandbox: full access is for containers, which are one themselves."""

    port: int = Field(default=9102, ge=0, le=65535)
    model: str | None = Field(default="gpt-5.5", validation_alias=AliasChoices("CODEX_MODEL", "model"))
    """Of sessions that name none. Codex's own default wants JavaScript from the model, which few others speak."""
    codex_sandbox_type: Sandbox = "workspace-write"
    codex_network_access: bool = False
    """Whether commands in the workspace-write sandbox reach the network."""
    codex_binary: Path | None = None
    """Another Codex than the one of the package."""
    codex_idle_seconds: float = Field(default=180, ge=0)
    """How long a session's process is kept for the session's next run."""
    codex_idle_processes: int = Field(default=32, ge=0)

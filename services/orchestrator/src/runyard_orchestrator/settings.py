"""What the orchestrator can be told; environment names are the fields' names in capitals."""

from pydantic import Field, SecretStr

from runyard_chassis import ServiceSettings
from runyard_orchestrator.preview_settings import PreviewSettings
from runyard_orchestrator.sandbox_settings import SandboxSettings


class Settings(SandboxSettings, PreviewSettings, ServiceSettings):
    """Settings of the orchestrator."""

    port: int = Field(default=9109, ge=0, le=65535)

    runner_types: tuple[str, ...] = ("codex", "claude", "opencode", "droid", "gemini")
    run_time_limit_seconds: int = Field(default=3600, ge=1)
    """Time limit of a run that asks for none."""
    longest_run_time_limit_seconds: int = Field(default=24 * 3600, ge=1)
    longest_queue: int = Field(default=100, ge=1, le=200)
    """Runs that may wait in one session."""
    session_wait_seconds: float = Field(default=60, gt=0)
    """How long the answer to a new session waits for its worktree; the session itself goes on."""
    command_concurrency: int = Field(default=64, ge=1)

    nats_issuer_seed: SecretStr = SecretStr("")
    """Seed of the account key with which containers of sessions are let into NATS; not set: none are."""
    nats_stay_seconds: float = Field(default=3600, gt=0)
    """After this a container that was let in has to present its token again."""
    redaction_salt: SecretStr = SecretStr("")
    redaction_fingerprints: str = ""
    """Keyed hashes of secrets that must never reach the log, by commas (see `runyard_events.redact`)."""

    reconcile_seconds: float = Field(default=5, gt=0)
    lease_grace_seconds: float = Field(default=60, gt=0)
    """A started run whose lease has been missing this long without a break is lost."""
    cancel_grace_seconds: float = Field(default=10, gt=0)
    """A run that was asked to stop and has no lease is ended after this."""
    time_limit_margin_seconds: float = Field(default=60, ge=0)
    """The runner keeps a run's time limit; this much later the orchestrator does."""
    resend_seconds: float = Field(default=30, gt=0)
    """An errand without effect is repeated after this, then after twice as long, and so on."""
    session_limit_seconds: float = Field(default=600, gt=0)
    """A session whose worktree is not made by then has failed."""
    start_limit_seconds: float = Field(default=3600, gt=0)
    """A run that no runner takes within this (or its own time limit, if longer) has failed."""

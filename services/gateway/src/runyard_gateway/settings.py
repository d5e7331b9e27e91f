"""What the gateway can be told; environment names are the fields' names in capitals."""

from typing import Literal

from pydantic import Field

from runyard_chassis.settings import ServiceSettings


class Settings(ServiceSettings):
    """Settings of the gateway. Addresses of services are for health and for what is passed on to them."""

    port: int = Field(default=9101, ge=0, le=65535)
    max_body_bytes: int = Field(default=2 * 1024 * 1024, ge=1)

    workspace_url: str = "http://127.0.0.1:9110"
    orchestrator_url: str = "http://127.0.0.1:9109"
    runner_codex_url: str = "http://127.0.0.1:9102"
    runner_claude_url: str = "http://127.0.0.1:9104"
    runner_acp_url: str = "http://127.0.0.1:9112"
    llm_gateway_url: str = "http://127.0.0.1:9108"

    command_timeout_seconds: float = Field(default=15, gt=0)
    session_timeout_seconds: float = Field(default=90, gt=0)
    """A session's worktree has to be made within this time."""
    sync_timeout_seconds: float = Field(default=120, gt=0)
    """A fetch, a push or a pull request that takes longer is answered with 504 and goes on."""
    import_wait_seconds: float = Field(default=60, gt=0)
    """A clone that takes longer is answered with 202 and goes on."""
    spawn_wait_seconds: float = Field(default=30, gt=0)
    """How long a spawn waits to see where its run is worked on."""
    projection_timeout_seconds: float = Field(default=5, gt=0)
    read_patience_seconds: float = Field(default=0.25, ge=0)
    """How long a read waits for the rows of what streams here have told already; then it answers with what there is."""

    preview_domain: str = Field(default="preview.localhost", pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$")
    """Previews are at `<preview>.<domain>`: every name below it has to lead to the gateway."""
    preview_scheme: Literal["http", "https"] = "http"
    """As browsers see it; `https` where something in front of the gateway encrypts."""
    preview_public_port: int | None = Field(default=None, ge=1, le=65535)
    """The port that browsers use; None: the gateway's own for http, the usual one for https."""
    preview_cookie_seconds: float = Field(default=4 * 3600, ge=60)
    preview_believe_seconds: float = Field(default=1, ge=0)
    """How long the proxy believes what it was told of a preview, unless it hears of a change, which it mostly does."""
    preview_body_bytes: int = Field(default=64 * 1024**2, ge=1)
    preview_first_byte_seconds: float = Field(default=120, gt=0)
    preview_idle_seconds: float = Field(default=300, gt=0)

    session_token_days: float = Field(default=7, gt=0)
    """How long a token for a container of one's own is good."""
    session_outputs_mib: int = Field(default=2048, ge=1)
    """How much a session's containers may bring of results that are too large for events, altogether."""

    stream_heartbeat_seconds: float = Field(default=10, gt=0)
    stream_life_seconds: float = Field(default=600, gt=0)
    stream_queue_events: int = Field(default=4096, ge=1)
    stream_queue_bytes: int = Field(default=2 * 1024 * 1024, ge=1024)
    archive_pause_seconds: float = Field(default=0.1, ge=0)
    """How long the archive lets events gather before it writes them; a transcript is at most so far behind."""

    @property
    def services(self) -> dict[str, str]:
        """The services behind the gateway, by name."""
        return {
            "orchestrator": self.orchestrator_url,
            "workspace": self.workspace_url,
            "runner-codex": self.runner_codex_url,
            "runner-claude": self.runner_claude_url,
            "runner-acp": self.runner_acp_url,
            "llm-gateway": self.llm_gateway_url,
        }

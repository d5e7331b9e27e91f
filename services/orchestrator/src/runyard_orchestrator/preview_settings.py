"""What the orchestrator can be told about previews; environment names are the fields' names in capitals."""

from pydantic import Field
from pydantic_settings import BaseSettings


class PreviewSettings(BaseSettings):
    """Settings of previews."""

    preview_start_seconds: float = Field(default=600, gt=0)
    """A preview whose page does not answer by then has failed."""
    preview_health_seconds: float = Field(default=30, gt=0)
    preview_health_timeout_seconds: float = Field(default=5, gt=0)
    preview_health_retries: int = Field(default=3, ge=1)
    preview_outlive: bool = False
    """Whether previews that are plain processes go on when the service stops; else they come back with it."""
    preview_recoveries: int = Field(default=3, ge=0)
    """How often a preview that has vanished is brought back by itself."""
    preview_processes: bool = True
    """Whether a preview may be a plain process beside this service, with all that this service's user may do. Not where
    the service itself runs in a container, or has an engine's socket that those who make previews do not have."""
    preview_builds: bool = True
    """Whether images are built of projects' own files, where previews run in containers of a Docker engine. A step of
    a build may run as root, without what holds containers besides the network and the limits."""
    preview_environment: dict[str, str] = Field(default_factory=dict[str, str])
    """What previews are told besides (JSON), wherever they run."""

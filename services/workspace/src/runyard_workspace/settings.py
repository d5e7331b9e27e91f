"""Settings of the workspace service."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import NoDecode

from runyard_chassis import ServiceSettings
from runyard_chassis.sealing import PrivateKey
from runyard_workspace.domain.sources import REMOTE_SCHEMES

MIB = 1024**2


class Settings(ServiceSettings):
    """Plain environment names: `WORKSPACES_ROOT`, `IMPORT_TIMEOUT_SECONDS`, `LOCAL_IMPORT_ROOTS` ..."""

    port: int = Field(default=9110, ge=0, le=65535)
    max_body_bytes: int = Field(default=24 * MIB, ge=1)

    workspaces_root: Path = Path("workspaces")
    """Where managed copies and worktrees are kept; runners must see it under the same path."""

    import_schemes: Annotated[tuple[str, ...], NoDecode] = REMOTE_SCHEMES
    """Kinds of address that may be cloned, as a comma-separated list: https,http,ssh,git."""
    local_import_roots: Annotated[tuple[Path, ...] | None, NoDecode] = None
    """Folders from which local repositories may be imported; not set: any, in production none."""
    import_timeout_seconds: float = Field(default=900, gt=0)
    import_max_mib: int = Field(default=4096, ge=1)
    import_max_files: int = Field(default=2_000_000, ge=1)
    import_spare_mib: int = Field(default=256, ge=0)
    """Free space that an import must leave on the disk."""
    import_stall_seconds: int = Field(default=30, ge=1)
    """A clone that receives next to nothing for this long is given up."""
    imports_at_once: int = Field(default=4, ge=1)
    import_reply_seconds: float = Field(default=8, gt=0)
    """After this long the asker is told that the import goes on; its end is an event."""
    import_abandoned_seconds: float = Field(default=300, gt=0)
    """An import that nobody is at work on and nothing was heard of for this long is ended as failed."""

    credentials_key: SecretStr = SecretStr("")
    """What stored credentials are sealed with; not set: derived from `JWT_SECRET_KEY`."""
    sync_timeout_seconds: float = Field(default=110, gt=0)
    """Longest time for one fetch or push."""
    fetch_every_seconds: float = Field(default=300, ge=0)
    """How often workspaces that have sessions are brought up to date with their remotes, unasked; 0: never."""
    github_api_url: str | None = None
    """Where GitHub's REST API is for all remotes; not set: GitHub's own for github.com, none for other hosts."""

    checkpoint_file_mib: int = Field(default=20, ge=1)
    """A larger file that has changed is left out of checkpoints and diffs, and named there."""
    checkpoint_total_mib: int = Field(default=512, ge=1)
    diff_max_kib: int = Field(default=2048, ge=1)
    file_read_kib: int = Field(default=1024, ge=1)
    """How much of a file one JSON answer holds at most."""
    file_write_mib: int = Field(default=16, ge=1)

    git_executable: str = "git"

    @field_validator("import_schemes", mode="before")
    @classmethod
    def _comma_separated_schemes(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("local_import_roots", mode="before")
    @classmethod
    def _comma_separated_roots(cls, value: object) -> object:
        return (
            tuple(Path(part.strip()) for part in value.split(",") if part.strip()) if isinstance(value, str) else value
        )

    @property
    def sealing_key(self) -> PrivateKey:
        """The key that opens stored credentials."""
        own = self.credentials_key if self.credentials_key.get_secret_value() else self.jwt_secret_key
        return PrivateKey.derive(own, "credentials")

    @property
    def local_roots(self) -> tuple[Path, ...]:
        """The folders from which local repositories may be imported."""
        if self.local_import_roots is not None:
            return self.local_import_roots
        return () if self.environment == "production" else (Path("/"),)

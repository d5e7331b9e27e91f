"""The file by which whoever takes down all of an installation says so."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class RestFile:
    """None: nobody ever says so here."""

    path: Path | None = None

    @property
    def is_there(self) -> bool:
        """Whether all of it is being taken down, or was when this service ended last."""
        return self.path is not None and self.path.exists()

    def remove(self) -> None:
        """What there was to do because of it is done."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)

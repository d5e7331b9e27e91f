"""Images made of a project's own files, where an engine can make them within limits and on a network of ours."""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from runyard_sandbox.provisioner import GIB, MIB, Limits, SandboxFault

BUILD_LIMITS = Limits(2 * GIB, 1.0)
CONTEXT_BYTES = 256 * MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """An image that is wanted: of which files, for whom, and for which of the owner's starts."""

    folder: Path
    within: str | None = ""
    """Where in the folder the files are, relative; None: the image is made of no files at all."""
    dockerfile: str | None = None
    """Which of those files, relative; None: the usual names."""
    steps: str | None = None
    """A Dockerfile's text, instead of a file's."""
    target: str | None = None
    arguments: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    part: str = ""
    """Which of the owner's images, where one start has several."""
    tenant_id: str
    owner_id: str
    epoch: int
    limits: Limits = BUILD_LIMITS
    most_context_bytes: int = CONTEXT_BYTES


@dataclass(frozen=True, slots=True)
class Image:
    """One that was built."""

    native_id: str
    user: str | None
    """`uid:gid` that it names itself; None: none, root, or one that has no number."""
    ports: tuple[int, ...]
    """TCP ports that it says it listens on."""
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()


class BuildFailed(SandboxFault):
    """It cannot be built. `lines` are the last ones that were printed."""

    def __init__(self, message: str, lines: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.lines = lines


class Builder(Protocol):
    """Makes images, and finds them again by their labels."""

    def build(self, order: Build) -> AsyncGenerator[str]:
        """What the build prints, line by line; closing it early ends the build.

        Raises:
            BuildFailed: it cannot be built.
            ProvisionFailed, EngineAway: the engine has no place for it, or does not answer.
        """
        ...

    async def built(self, owner_id: str, epoch: int, of: str = "") -> Image | None:
        """The image of one of an owner's starts, or of one part of it.

        Raises:
            BuildFailed: it is one that no container may be made of.
        """
        ...

    async def forget(self, owner_id: str, *, keep: int | None = None) -> None:
        """Removes an owner's images, except that of the start to keep."""
        ...

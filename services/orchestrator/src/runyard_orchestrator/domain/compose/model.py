"""What is left of a Compose file once it has been understood."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Condition = Literal["service_started", "service_healthy", "service_completed_successfully"]


class NotServed(Exception):
    """It cannot be served as a preview; the message says which service, which key, and why."""


@dataclass(frozen=True, slots=True)
class ImageBuild:
    """How a service's image is made. `context` is relative to the top of the project's files; None: of none of them."""

    context: str | None
    dockerfile: str | None = None
    steps: str | None = None
    target: str | None = None
    arguments: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)


@dataclass(frozen=True, slots=True)
class Bind:
    """All of the project's files, inside at `target`."""

    target: str
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class EnvFile:
    """A file of variables, relative to the top of the project's files."""

    path: str
    required: bool = True


@dataclass(frozen=True, slots=True)
class Check:
    """How to see that it works. Seconds."""

    test: tuple[str, ...]
    every: float = 30
    timeout: float = 30
    retries: int = 3
    start: float = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One container. Exactly one of `build` and `image` is what it is made of."""

    name: str
    build: ImageBuild | None
    image: str | None
    entrypoint: tuple[str, ...] | None = None
    """None: the image's own, as for `command`."""
    command: tuple[str, ...] | None = None
    environment: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    """Without what `env_files` say, over which it goes."""
    env_files: tuple[EnvFile, ...] = ()
    working_directory: str | None = None
    user: str | None = None
    """`uid:gid`."""
    ports: tuple[int, ...] = ()
    """TCP ports inside, those that are published before those that are only exposed."""
    binds: tuple[Bind, ...] = ()
    volumes: tuple[str, ...] = ()
    """Places that begin with what the image has there."""
    scratch: tuple[str, ...] = ()
    """Places that begin empty and can be written to."""
    needs: Mapping[str, Condition] = field(default_factory=dict[str, Condition])
    check: Check | None = None

    def words(self, entrypoint: tuple[str, ...]) -> tuple[str, ...] | None:
        """What runs, where its image has this entry point; None: what the image says itself."""
        if self.entrypoint is not None:
            # An entry point of one's own does away with the image's command as well.
            return (*self.entrypoint, *(self.command or ()))
        return None if self.command is None else (*entrypoint, *self.command) or None

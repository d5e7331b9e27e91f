"""Where a run is worked on: what the installation offers, and what a team has made of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from runyard_events.catalogue import Method, SandboxRules

T = TypeVar("T")

EXTERNAL = "external"
"""The runner type of sessions that a container of somebody else works for."""
OUR_CONTAINERS: frozenset[str] = frozenset({"docker", "dokploy", "kubernetes"})
"""Methods that need a container which this service sees to."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What holds for a team: its own rules over those of the installation."""

    enabled: bool
    process_fallback: bool
    egress: tuple[str, ...] = ()
    idle_stop_seconds: float = 900
    runtime: str | None = None


@dataclass(frozen=True, slots=True)
class Installation:
    """What this installation offers. `method` is `process` when it has no sandboxes."""

    method: Method = "process"
    enabled: bool = True
    required: bool = False
    """Whether no team's rules lead out of these containers, or out of their runtime."""
    process_fallback: bool = False
    egress: tuple[str, ...] = ()
    idle_stop_seconds: float = 900
    runtime: str | None = None
    images: Mapping[str, str] = field(default_factory=dict[str, str])
    """By runner type; `*` stands for all others."""

    @property
    def has_sandboxes(self) -> bool:
        """Whether there is anything that containers could be had of."""
        return self.method != "process"

    def image(self, runner_type: str) -> str | None:
        """The image of a runner's container."""
        found = self.images.get(runner_type) or self.images.get("*")
        return found.replace("{runner}", runner_type) if found else None


PROCESSES = Installation()
"""An installation without sandboxes."""


def rules_of(installation: Installation, team: SandboxRules | None) -> Rules:
    """A team's rules, filled up with the installation's."""
    own = team or SandboxRules()
    if leads_out(installation, own):  # decided before the installation required containers
        own = own.model_copy(update={"enabled": True, "process_fallback": False, "runtime": None})
    return Rules(
        enabled=installation.has_sandboxes and _or(own.enabled, installation.enabled or installation.required),
        process_fallback=_or(own.process_fallback, installation.process_fallback),
        egress=installation.egress if own.egress is None else own.egress,
        idle_stop_seconds=_or(own.idle_stop_seconds, installation.idle_stop_seconds),
        runtime=own.runtime or installation.runtime,
    )


def leads_out(installation: Installation, team: SandboxRules) -> bool:
    """Whether these rules of a team would have it out of the containers that the installation requires."""
    runtimes = (None, installation.runtime)
    escapes = team.enabled is False or team.process_fallback is True or team.runtime not in runtimes
    return installation.required and escapes


def where(installation: Installation, team: SandboxRules | None, runner_type: str) -> Method:
    """Where the next run of a session goes; asked anew for each."""
    if runner_type == EXTERNAL:
        return "external"
    return installation.method if rules_of(installation, team).enabled else "process"


def _or(value: T | None, otherwise: T) -> T:
    return otherwise if value is None else value

"""What the Docker provisioner has to be told."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from runyard_sandbox.provisioner import Purpose

EGRESS_PORT = 3128
"""Where the proxy takes `CONNECT` and plain HTTP requests to the outside."""

UNPRIVILEGED = "10001:10001"


@dataclass(frozen=True, slots=True)
class Forward:
    """A port of the proxy behind which one of our services is found."""

    port: int
    """As sandboxes see it: `runyard:<port>`."""
    host: str
    """As this process (embedded) or the proxy's container (compose) sees the service."""
    target_port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSettings:
    """How sandboxes reach the few things that they may reach."""

    forwards: tuple[Forward, ...]
    """The services, for example 4222 -> NATS, 8086 -> llm-gateway, 8080 -> gateway."""
    decisions: Forward
    """The service that answers `GET /internal/egress?peer=&host=&port=`; its `port` is not opened for sandboxes."""
    decisions_token: str | None = field(default=None, repr=False)
    """Sent as a bearer token with every question."""
    relay_folder: Path
    """A folder of this process's own that the proxy's container shares: by Unix sockets in it the proxy reaches
    services on this host's loopback, and this process the pages of previews."""
    relay_volume: str | None = None
    """Compose: the engine's volume that `relay_folder` is. None: a folder of the engine's host, by the same path."""
    service_network: str | None = None
    """Compose: the engine's network on which the proxy finds the services itself, by name and port."""
    subnets: str = "10.213.0.0/16"
    """Where sandboxes' networks are taken from. No host of value may be in it."""
    prefix: int = 29
    """Size of each; 29 has room for the proxy and one sandbox."""
    spare: int = 2
    """Networks kept ready and connected to the proxy, so that a cold start does not wait for one."""
    private_networks: tuple[str, ...] = ()
    """Private networks that allowed hosts may be in (a Git server of the house); otherwise such names are refused."""
    page_host: str = "127.0.0.1"
    """Where this process listens for previews' pages."""
    page_address: str | None = None
    """What the gateway calls that host; None: the same."""
    page_ports: tuple[int, int] = (5000, 8999)


@dataclass(frozen=True, slots=True, kw_only=True)
class DockerSettings:
    """One Docker engine, and which of its things are ours."""

    installation: str
    """Names our containers, networks and volumes among those of others on the same engine."""
    images: Mapping[Purpose, str]
    proxy_image: str | None = None
    """Of the proxy; None: the agents' own, which has the same code."""
    proxy_command: tuple[str, ...] = ("python", "-m", "runyard_sandbox.proxy")
    network: NetworkSettings | None = None
    """None: sandboxes have no network at all."""
    base_url: str | None = None
    """None: `DOCKER_HOST`, else the local socket."""
    user: str = UNPRIVILEGED
    """`uid:gid` of what runs in sandboxes, never 0."""
    call_seconds: float = 30
    """How long to wait for an answer of the engine."""
    start_seconds: float = 60
    """How long for a container that it makes or starts; one that is not there by then has failed."""
    calls_at_once: int = 16
    disk_seconds: float = 60
    """Between two looks at how much of the disk a sandbox takes."""
    init: bool = True
    """Whether the engine's own init is process 1."""

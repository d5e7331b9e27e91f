"""What the proxy is told, as JSON in one environment variable that the provisioner sets."""

import json
from dataclasses import asdict, dataclass, field, fields
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any

VARIABLE = "RUNYARD_PROXY"
TOKEN_VARIABLE = "RUNYARD_PROXY_TOKEN"  # noqa: S105 (the variable's name)

Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Target:
    """Where a connection goes on: a Unix socket, or a host and a port."""

    path: str | None = None
    host: str = ""
    port: int = 0

    def __str__(self) -> str:
        return self.path or f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class ProxyConfig:
    """Everything that the proxy does."""

    forwards: dict[int, Target]
    """Port that sandboxes see -> one of our services."""
    decisions: Target
    """Who says whether a sandbox may reach a host."""
    pages: str | None = None
    """The Unix socket at which the platform asks for a port of a sandbox."""
    subnets: str | None = None
    """Where sandboxes' own networks are taken from; the egress proxy leads nowhere in it. None: an address says
    nothing of who asks, so whoever wants to go out shows the pass that its session was given."""
    only_subnets: bool = True
    """Whether connections from elsewhere (the host and what it routes) are refused."""
    egress_port: int = 3128
    names_port: int | None = None
    """Where questions about names are answered, all with no; None: nowhere."""
    private_networks: tuple[str, ...] = ()
    most_connections: int = 2048
    most_connections_each: int = 128
    """Of one sandbox."""
    idle_seconds: float = 300
    """Of a connection to the outside."""
    forward_idle_seconds: float = 3600
    """Of one to our services; those send signs of life themselves."""
    forward_rate: int = 2 * 1024**2
    """Bytes in a second that one sandbox may send to our services for as long as it likes, where it has an address."""
    forward_burst: int = 64 * 1024**2
    """Beyond them, at once: the largest output and the longest prompt are less."""
    token: str | None = field(default=None, repr=False)

    def encoded(self) -> str:
        """As JSON, without the token, and without what is as it is anyway: an image that is older knows less."""
        usual = {each.name: each.default for each in fields(self)} | {"token": self.token}
        data = {name: value for name, value in asdict(self).items() if value != usual[name]}
        return json.dumps(data, sort_keys=True)

    @property
    def private(self) -> tuple[Network, ...]:
        """The private networks that may be reached after all."""
        return tuple(ip_network(each) for each in self.private_networks)


def decoded(text: str, token: str | None = None) -> ProxyConfig:
    """The inverse of `encoded`."""
    data: dict[str, Any] = json.loads(text)
    data["forwards"] = {int(port): Target(**target) for port, target in data["forwards"].items()}
    data["decisions"] = Target(**data["decisions"])
    data["private_networks"] = tuple(data.get("private_networks", ()))
    data["token"] = token
    return ProxyConfig(**data)

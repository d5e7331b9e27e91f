"""What the Kubernetes provisioner has to be told, and how it is known inside a cluster."""

import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from runyard_sandbox.provisioner import Purpose
from runyard_sandbox.remote import Patience
from runyard_sandbox.shared import SharedFolder


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """An API server: where it is, what opens it (a bearer token), and which authority signed its certificate."""

    address: str
    token: Callable[[], str] = field(repr=False)
    authority: Path | None = None
    """PEM file; None: the system's authorities."""

    def tls(self) -> ssl.SSLContext | bool:
        """What a client checks the server's certificate with."""
        return True if self.authority is None else ssl.create_default_context(cafile=str(self.authority))


def in_cluster(host: str, port: int, account: Path) -> Cluster:
    """The cluster that this process is a pod of. The token is read anew each time: kubelet rotates it."""
    return Cluster(
        address=f"https://{f'[{host}]' if ':' in host else host}:{port}",
        token=lambda: (account / "token").read_text().strip(),
        authority=account / "ca.crt",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """What a sandbox may reach and be reached from: a Service, and labels of pods of its namespace."""

    service: str
    """Of the proxy; everything goes through it. Its address is the only name that a sandbox knows, and its
    name server (port 53), which knows no name at all."""
    proxy: Mapping[str, str]
    """The pods behind it."""
    proxy_ports: tuple[int, ...] = (4222, 8086, 8080, 3128)
    names_port: int = 5353
    """Where the pods answer what comes to port 53 of the Service."""
    callers: Mapping[str, str] | None = None
    """Who may open connections to a sandbox: what serves previews. None: nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KubernetesSettings:
    """Which cluster and namespace, which images, which storage."""

    cluster: Cluster
    namespace: str
    installation: str
    """Names our resources among those of others; a label's value."""
    images: Mapping[Purpose, str]
    reach: Reach
    claim: str | None = None
    """The PersistentVolumeClaim (ReadWriteMany) whose storage is `shared.root` on this host."""
    shared: SharedFolder | None = None
    user: str = "10001:10001"
    start_seconds: float = 120
    poll_seconds: float = 0.5
    stats_seconds: float = 10
    """Metrics are measured anew about every 15 s; asking more often tells nothing new."""
    patience: Patience = field(default_factory=Patience)

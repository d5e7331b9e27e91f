"""What the Kubernetes provisioner has to be told, and how it is known inside a cluster."""

import os
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from runyard_sandbox.provisioner import Purpose
from runyard_sandbox.remote import Patience
from runyard_sandbox.shared import SharedFolder

_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


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


def in_cluster(environ: Mapping[str, str] | None = None, account: Path = _ACCOUNT) -> Cluster:
    """The cluster that this process is a pod of. The token is read anew each time: kubelet rotates it.

    Raises:
        KeyError: not in a cluster.
    """
    found = os.environ if environ is None else environ
    host, port = found["KUBERNETES_SERVICE_HOST"], found.get("KUBERNETES_SERVICE_PORT", "443")
    return Cluster(
        address=f"https://{f'[{host}]' if ':' in host else host}:{port}",
        token=lambda: (account / "token").read_text().strip(),
        authority=account / "ca.crt",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """What a sandbox may reach and be reached from, as labels of pods of its namespace."""

    proxy: Mapping[str, str]
    """The egress proxy; everything goes through it."""
    proxy_ports: tuple[int, ...] = (4222, 8086, 8080, 3128)
    callers: Mapping[str, str] | None = None
    """Who may open connections to a sandbox: what serves previews. None: nobody."""
    dns: bool = False
    """Whether it may ask the cluster's DNS, which whatever it asks leaves the cluster by."""


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
    warm_pools: Mapping[Purpose, str] = field(default_factory=dict[Purpose, str])
    """SandboxWarmPools that sandboxes without mounts are claimed from."""
    start_seconds: float = 120
    poll_seconds: float = 0.5
    stats_seconds: float = 10
    """Metrics are measured anew about every 15 s; asking more often tells nothing new."""
    patience: Patience = field(default_factory=Patience)

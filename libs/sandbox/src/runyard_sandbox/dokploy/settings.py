"""What the Dokploy provisioner has to be told."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from runyard_sandbox.provisioner import Purpose
from runyard_sandbox.remote import Patience
from runyard_sandbox.shared import SharedFolder


@dataclass(frozen=True, slots=True, kw_only=True)
class DokploySettings:
    """Where the server is, and how its hosts see what we have."""

    address: str
    """Of the server, without `/api`."""
    api_key: str = field(repr=False)
    installation: str
    """Names our applications among those of others."""
    images: Mapping[Purpose, str]
    network: str
    """A swarm network on which nothing but the proxy and other sandboxes can be reached. There is no default on
    purpose: Dokploy's own network reaches the internet, its other services and its traffic router."""
    shared: SharedFolder | None = None
    """The folder of this host whose storage Dokploy's hosts mount too (NFS or the like)."""
    shared_there: PurePosixPath | None = None
    """Where they have it."""
    shared_read_only_there: PurePosixPath | None = None
    """Where they have it a second time, mounted read-only: Dokploy's own binds are always writable."""
    image_user: str = "10001:10001"
    """The user that the images run as; Dokploy takes no other."""
    accept_unhardened: bool = False
    """Whether a writable root, all default capabilities, no limit of processes and one network for all will do."""
    project: str = "runyard"
    environment: str = "sandboxes"
    server_id: str | None = None
    """One of Dokploy's remote servers; None: the one that it runs on itself."""
    deploy_seconds: float = 120
    poll_seconds: float = 1.0
    patience: Patience = field(default_factory=Patience)

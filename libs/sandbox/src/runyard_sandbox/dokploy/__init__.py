"""Sandboxes as applications of a Dokploy server, over its HTTP API (0.26 and later: projects have environments).

What Dokploy cannot do is refused or said, never passed over: it has no read-only root, no dropped capabilities,
no process limit and no runtime per application (`accept_unhardened`), no read-only binds (`shared_read_only_there`),
runs every image as the image's own user, and offers neither exec, statistics nor pausing in its API.
"""

from runyard_sandbox.dokploy.provisioner import DokployProvisioner
from runyard_sandbox.dokploy.settings import DokploySettings

__all__ = ["DokployProvisioner", "DokploySettings"]

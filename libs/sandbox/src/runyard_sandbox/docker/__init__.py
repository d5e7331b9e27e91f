"""Sandboxes as containers of a Docker engine, on networks from which only the installation's proxy is reached."""

from runyard_sandbox.docker.clearing import clear_engine
from runyard_sandbox.docker.leftovers import Leftover
from runyard_sandbox.docker.provisioner import DockerProvisioner
from runyard_sandbox.docker.settings import EGRESS_PORT, DockerSettings, Forward, NetworkSettings

__all__ = [
    "EGRESS_PORT",
    "DockerProvisioner",
    "DockerSettings",
    "Forward",
    "Leftover",
    "NetworkSettings",
    "clear_engine",
]

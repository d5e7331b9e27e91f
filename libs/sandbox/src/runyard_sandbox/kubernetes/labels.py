"""How our resources are told from others, and whose they are."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from runyard_sandbox.provisioner import ProvisionFailed, Purpose, Spec

INSTALLATION = "runyard/installation"
NAME = "runyard/sandbox"
PURPOSE = "runyard/purpose"
AT_REST = "runyard/at-rest"
"""`stopped` or `paused`: why a sandbox is suspended, which Kubernetes knows only one kind of."""
_TENANT = "runyard/tenant"
_OWNER = "runyard/owner"
_EPOCH = "runyard/epoch"
_PORTS = "runyard/ports"
_DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose sandbox a resource is."""

    name: str
    purpose: Purpose
    tenant_id: str
    owner_id: str
    epoch: int
    ports: tuple[int, ...]


def labels(spec: Spec, installation: str) -> dict[str, str]:
    """What resources are selected by.

    Raises:
        ProvisionFailed: the name is none that Kubernetes takes.
    """
    if not _DNS_LABEL.fullmatch(spec.name):
        raise ProvisionFailed(f"{spec.name} is no name for a pod")
    return {INSTALLATION: installation, NAME: spec.name, PURPOSE: spec.purpose}


def annotations(spec: Spec) -> dict[str, str]:
    """Whose it is; annotations hold any text, labels do not."""
    return {
        _TENANT: spec.tenant_id,
        _OWNER: spec.owner_id,
        _EPOCH: str(spec.epoch),
        _PORTS: ",".join(str(port) for port in spec.ports),
    }


def identity(resource: Mapping[str, Any]) -> Identity | None:
    """The identity that a resource carries; None: not one of ours."""
    metadata = resource["metadata"]
    marks: dict[str, str] = {**metadata.get("annotations", {}), **metadata.get("labels", {})}
    try:
        return Identity(
            name=marks[NAME],
            purpose=cast("Purpose", marks[PURPOSE]),
            tenant_id=marks[_TENANT],
            owner_id=marks[_OWNER],
            epoch=int(marks[_EPOCH]),
            ports=tuple(int(port) for port in marks[_PORTS].split(",") if port),
        )
    except (KeyError, ValueError):
        return None

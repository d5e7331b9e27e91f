"""What is written on everything that we make on an engine: by it, and by nothing else, it is found again."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import cast, get_args

from runyard_sandbox.provisioner import Purpose, Spec

OURS = "runyard."
INSTALLATION = "runyard.installation"
KIND = "runyard.kind"
TENANT = "runyard.tenant"
OWNER = "runyard.owner"
PURPOSE = "runyard.purpose"
EPOCH = "runyard.epoch"
PART = "runyard.part"
GROUP = "runyard.group"
ALIAS = "runyard.alias"
EXPIRES = "runyard.expires"
NETWORK = "runyard.network"
ADDRESS = "runyard.address"
CONFIG = "runyard.config"
PAGE = "runyard.page."

SANDBOX = "sandbox"
PROXY = "proxy"
IMAGE = "image"
SESSION_NETWORK = "network"
UPLINK = "uplink"


def is_of_a_build(name: str) -> bool:
    """Whether the engine gave the name itself, as it does for the steps of a build and never with our names.

    Such a container has the labels that its image has: any that somebody likes, ours among them.
    """
    return "_" in name


def of_kind(installation: str, kind: str) -> dict[str, str]:
    """What every thing of a kind carries."""
    return {INSTALLATION: installation, KIND: kind}


def of_spec(installation: str, spec: Spec) -> dict[str, str]:
    """What a sandbox's container carries. None of it is secret: `docker inspect` shows it."""
    labels = of_kind(installation, SANDBOX) | {
        TENANT: spec.tenant_id,
        OWNER: spec.owner_id,
        PURPOSE: spec.purpose,
        EPOCH: str(spec.epoch),
    }
    labels |= {key: value for key, value in ((GROUP, spec.group), (ALIAS, spec.alias)) if value is not None}
    if spec.expires_at is not None:
        labels[EXPIRES] = spec.expires_at.isoformat()
    return labels


def purpose_of(labels: Mapping[str, str]) -> Purpose:
    """What it is for; what has no readable label is taken for an agent's."""
    found = labels.get(PURPOSE, "")
    return cast("Purpose", found) if found in get_args(Purpose) else "agent"


def epoch_of(labels: Mapping[str, str]) -> int:
    """Its owner's count; 0 when unreadable, which is before all others."""
    found = labels.get(EPOCH, "")
    return int(found) if found.isdigit() else 0


def expiry_of(labels: Mapping[str, str]) -> datetime | None:
    """When it can do nothing any more; None when nothing readable is said."""
    try:
        return datetime.fromisoformat(labels[EXPIRES]).astimezone(UTC)
    except (KeyError, ValueError, OverflowError):
        return None


def pages_of(labels: Mapping[str, str]) -> dict[int, int]:
    """Port inside -> port of this host where its page is reached."""
    pages = {key.removeprefix(PAGE): value for key, value in labels.items() if key.startswith(PAGE)}
    return {int(inside): int(here) for inside, here in pages.items() if inside.isdigit() and here.isdigit()}

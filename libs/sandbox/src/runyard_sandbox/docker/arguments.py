"""From what is to run to the engine's own JSON: the hardening profile, and nothing of it is left to a caller."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runyard_sandbox.docker.labels import ADDRESS, NETWORK, PAGE, of_spec
from runyard_sandbox.docker.settings import EGRESS_PORT
from runyard_sandbox.provisioner import MIB, PROXY_NAME, Health, Mount, ProvisionFailed, Spec

_NANO = 1_000_000_000
_SHARES_PER_CPU = 1024
_SECRETS_BYTES = MIB
_FIRST_TO_DIE = 500
"""Of `oom_score_adj`: when the host itself is short of memory, a sandbox goes before any service."""
_ENGINE_SOCKETS = (Path("/var/run/docker.sock"), Path("/run/docker.sock"), Path("/run/containerd"))

LOGGING = {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "2"}}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a sandbox is on the network."""

    network: str
    address: str
    proxy: str
    pages: Mapping[int, int]
    """Port inside -> port of this host."""
    neighbours: Mapping[str, str] = field(default_factory=dict[str, str])
    """Name -> address of those on the same network."""


def create_arguments(
    spec: Spec, *, installation: str, image: str, user: str, init: bool, place: Place | None
) -> dict[str, Any]:
    """The body of the engine's create request.

    Raises:
        ProvisionFailed: root, or a mount that would give the sandbox the engine or the whole host.
    """
    user = _unprivileged(spec.user or user)
    body: dict[str, Any] = {
        "Image": image,
        "User": user,
        "Env": [f"{key}={value}" for key, value in (_proxy_environment(place) | dict(spec.env)).items()],
        "Labels": of_spec(installation, spec) | _place_labels(place),
        "Healthcheck": _health(spec.health),
        "OpenStdin": False,
        "Tty": False,
        "HostConfig": _host(spec, user=user, init=init, place=place),
    }
    if spec.command is not None:
        # The image's own entry point would otherwise get the command as its arguments.
        body |= {"Entrypoint": [spec.command[0]], "Cmd": list(spec.command[1:])}
    if spec.working_directory is not None:
        body["WorkingDir"] = spec.working_directory
    if spec.volumes:
        # Without a name: removed with the container.
        body["Volumes"] = {volume: {} for volume in spec.volumes}
    if place is not None:
        body["Hostname"] = f"sandbox-{spec.owner_id[:8]}"
        endpoint = {"IPAMConfig": {"IPv4Address": place.address}}
        body["NetworkingConfig"] = {"EndpointsConfig": {place.network: endpoint}}
    return body


def _host(spec: Spec, *, user: str, init: bool, place: Place | None) -> dict[str, Any]:
    limits = spec.limits
    uid, gid = user.split(":")
    temporary = f"rw,nosuid,nodev,exec,mode=1777,size={limits.temporary_bytes}"
    host: dict[str, Any] = {
        "Memory": limits.memory_bytes,
        "MemorySwap": limits.memory_bytes,
        "NanoCpus": round(limits.cpus * _NANO),
        "PidsLimit": limits.processes,
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges:true"],
        "Privileged": False,
        "ReadonlyRootfs": spec.read_only_root,
        "Tmpfs": {
            **dict.fromkeys(("/tmp", *spec.scratch), temporary),  # noqa: S108
            "/run/secrets": f"rw,nosuid,nodev,noexec,mode=0700,uid={uid},gid={gid},size={_SECRETS_BYTES}",
        },
        "Mounts": [_mount(mount) for mount in spec.mounts],
        "Init": init,
        "IpcMode": "private",
        "CgroupnsMode": "private",
        "OomScoreAdj": _FIRST_TO_DIE,
        "Ulimits": [{"Name": "core", "Soft": 0, "Hard": 0}],
        "LogConfig": LOGGING,
        "RestartPolicy": {"Name": "no"},
        "NetworkMode": place.network if place else "none",
    }
    if limits.reserved_memory_bytes is not None:
        host["MemoryReservation"] = min(limits.reserved_memory_bytes, limits.memory_bytes)
    if limits.reserved_cpus is not None:
        host["CpuShares"] = max(2, round(limits.reserved_cpus * _SHARES_PER_CPU))
    if spec.runtime is not None:
        host["Runtime"] = spec.runtime
    if place is not None:
        # Names are resolved by the proxy alone: a resolver that sandboxes could ask would carry data out.
        # It answers every question with no, so that nothing waits for an answer.
        host |= {
            "Dns": [place.proxy],
            "DnsOptions": ["timeout:1", "attempts:2"],
            # Nor by the engine: the proxy is on every network, and would take an alias on one for its own services.
            "ExtraHosts": [f"{PROXY_NAME}:{place.proxy}", *(f"{name}:{at}" for name, at in place.neighbours.items())],
        }
    return host


def _proxy_environment(place: Place | None) -> dict[str, str]:
    if place is None:
        return {}
    proxy, direct = f"http://{PROXY_NAME}:{EGRESS_PORT}", f"{PROXY_NAME},{place.proxy},localhost,127.0.0.1,::1"
    names = {"HTTP_PROXY": proxy, "HTTPS_PROXY": proxy, "NO_PROXY": direct}
    # Programs disagree about the letters' case: some (curl) take http_proxy in small letters only.
    return names | {name.lower(): value for name, value in names.items()}


def _place_labels(place: Place | None) -> dict[str, str]:
    if place is None:
        return {}
    pages = {f"{PAGE}{inside}": str(here) for inside, here in place.pages.items()}
    return {NETWORK: place.network, ADDRESS: place.address, **pages}


def _mount(mount: Mount) -> dict[str, Any]:
    source = mount.source
    if not source.is_absolute() or source.parent == source or ".." in source.parts:
        raise ProvisionFailed(f"{source} is not a folder that a sandbox may be given")
    if any(socket.is_relative_to(source) for socket in _ENGINE_SOCKETS):
        raise ProvisionFailed(f"{source} would give the sandbox the engine")
    return {
        "Type": "bind",
        "Source": str(source),
        "Target": mount.target,
        "ReadOnly": mount.read_only,
        "BindOptions": {"Propagation": "rprivate"},
    }


def _health(health: Health | None) -> dict[str, Any]:
    if health is None:
        return {"Test": ["NONE"]}
    return {
        "Test": ["CMD", *health.test],
        "Interval": math.ceil(health.every_seconds * _NANO),
        "Timeout": math.ceil(health.timeout_seconds * _NANO),
        "Retries": health.retries,
        "StartPeriod": math.ceil(health.start_seconds * _NANO),
    }


def _unprivileged(user: str) -> str:
    uid, _, gid = user.partition(":")
    if not (uid.isdigit() and gid.isdigit()) or int(uid) == 0 or int(gid) == 0:
        raise ProvisionFailed(f"a sandbox runs as a numbered user that is not root, not as {user!r}")
    return user

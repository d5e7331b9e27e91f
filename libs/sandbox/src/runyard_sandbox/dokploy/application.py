"""From a spec to the bodies of Dokploy's requests, and from its answers to a sandbox. Pure."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, cast

from runyard_sandbox.dokploy.dotenv import dotenv
from runyard_sandbox.dokploy.settings import DokploySettings
from runyard_sandbox.provisioner import Failure, Health, Mount, ProvisionFailed, Purpose, Sandbox, Spec, Status

_NANO = 1_000_000_000
_MARK = "runyard"
_EXIT = re.compile(r"non-zero exit \((\d+)\)")
_NO_IMAGE = re.compile(r"no such image|manifest unknown|pull access denied|repository .* not found|invalid reference")
_STARTING = frozenset({"new", "pending", "assigned", "accepted", "ready", "preparing", "starting", "allocated"})


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose application it is; kept in its description, for Dokploy lists applications without labels."""

    installation: str
    tenant_id: str
    owner_id: str
    epoch: int
    purpose: Purpose

    def text(self) -> str:
        """As it stands in the description."""
        return json.dumps(
            {
                _MARK: self.installation,
                "tenant": self.tenant_id,
                "owner": self.owner_id,
                "epoch": self.epoch,
                "purpose": self.purpose,
            }
        )


def identity(description: str | None) -> Identity | None:
    """The identity in a description; None: somebody else's application."""
    try:
        found = cast("dict[str, Any]", json.loads(description or ""))
        return Identity(
            installation=str(found[_MARK]),
            tenant_id=str(found["tenant"]),
            owner_id=str(found["owner"]),
            epoch=int(found["epoch"]),
            purpose=cast("Purpose", found["purpose"]),
        )
    except (ValueError, KeyError, TypeError):
        return None


def refuse_what_it_cannot(spec: Spec, settings: DokploySettings) -> None:
    """Raises `ProvisionFailed` for what was asked for and would silently not be had."""
    if spec.runtime is not None:
        raise ProvisionFailed(f"Dokploy cannot choose the runtime {spec.runtime}")
    if spec.user is not None and spec.user != settings.image_user:
        raise ProvisionFailed(f"Dokploy runs images as their own user ({settings.image_user}), not as {spec.user}")
    if spec.ports:
        raise ProvisionFailed("Dokploy has no way from the platform to a port of a sandbox, which a preview needs")
    if spec.read_only_root and not settings.accept_unhardened:
        raise ProvisionFailed(
            "Dokploy has no read-only root, dropped capabilities, limit of processes or network of each sandbox's own; "
            "accept_unhardened has to say that this will do"
        )


def created(spec: Spec, settings: DokploySettings, environment_id: str) -> dict[str, Any]:
    """`application.create`."""
    whose = Identity(settings.installation, spec.tenant_id, spec.owner_id, spec.epoch, spec.purpose)
    body = {
        "name": spec.name,
        "appName": spec.name,
        "description": whose.text(),
        "environmentId": environment_id,
    }
    return body if settings.server_id is None else {**body, "serverId": settings.server_id}


def docker_provider(spec: Spec, settings: DokploySettings, application_id: str) -> dict[str, Any]:
    """`application.saveDockerProvider`; all fields are required, empty where there is nothing to say."""
    image = spec.image or settings.images.get(spec.purpose)
    if image is None:
        raise ProvisionFailed(f"no image is configured for {spec.purpose}", reason="image_missing")
    return {
        "applicationId": application_id,
        "dockerImage": image,
        "username": "",
        "password": "",
        "registryUrl": "",
    }


def environment(spec: Spec, application_id: str) -> dict[str, Any]:
    """`application.saveEnvironment`."""
    return {
        "applicationId": application_id,
        "env": dotenv(spec.env),
        "buildArgs": "",
        "buildSecrets": "",
        "createEnvFile": False,
    }


def update(spec: Spec, settings: DokploySettings, application_id: str) -> dict[str, Any]:
    """`application.update`: limits in bytes and nanoCPUs as strings, swarm settings as they stand in its service.

    A container that ends is not started again behind our back: what ends a sandbox is told, and decided on here.
    """
    limits = spec.limits
    body: dict[str, Any] = {
        "applicationId": application_id,
        "memoryLimit": str(limits.memory_bytes),
        "cpuLimit": str(round(limits.cpus * _NANO)),
        "replicas": 1,
        "autoDeploy": False,
        "restartPolicySwarm": {"Condition": "none"},
        "networkSwarm": [{"Target": settings.network}],
    }
    if limits.reserved_memory_bytes is not None:
        body["memoryReservation"] = str(limits.reserved_memory_bytes)
    if limits.reserved_cpus is not None:
        body["cpuReservation"] = str(round(limits.reserved_cpus * _NANO))
    if spec.command is not None:
        body["args"] = _arguments(spec.command, spec.working_directory)
    body["healthCheckSwarm"] = _health(spec.health)
    return body


def _health(health: Health | None) -> dict[str, Any]:
    """Ours or none: the images' own asks for the HTTP API of a service, and a swarm ends what is unhealthy."""
    if health is None:
        return {"Test": ["NONE"]}
    return {
        "Test": ["CMD", *health.test],
        "Interval": round(health.every_seconds * _NANO),
        "Timeout": round(health.timeout_seconds * _NANO),
        "StartPeriod": round(health.start_seconds * _NANO),
        "Retries": health.retries,
    }


def _arguments(command: Sequence[str], folder: str | None) -> list[str]:
    """The image's entry point stays; a folder is entered by a shell, for a service of Dokploy's has none."""
    if folder is None:
        return list(command)
    return ["sh", "-c", 'cd "$0" && exec "$@"', folder, *command]


def bind(mount: Mount, settings: DokploySettings, application_id: str) -> dict[str, Any]:
    """`mounts.create` of a folder that both hosts have.

    Raises:
        ProvisionFailed: it lies outside the shared storage, or is to be read-only and cannot be.
    """
    if settings.shared is None or settings.shared_there is None:
        raise ProvisionFailed(f"{mount.source} cannot be mounted: no storage is shared with Dokploy's hosts")
    place = settings.shared.below(mount)
    there = settings.shared_there
    if mount.read_only:
        if settings.shared_read_only_there is None:
            raise ProvisionFailed(f"{mount.source} is to be read-only, which Dokploy's mounts cannot be")
        there = settings.shared_read_only_there
    return {
        "type": "bind",
        "hostPath": str(there / place),
        "mountPath": mount.target,
        "serviceType": "application",
        "serviceId": application_id,
    }


def sandbox(row: Mapping[str, Any], whose: Identity, tasks: Sequence[Mapping[str, Any]]) -> Sandbox:
    """What `application.one` and the newest task of its service say."""
    seen = Sandbox(
        name=str(row["name"]),
        native_id=str(row["applicationId"]),
        status=_status(str(row["applicationStatus"])),
        purpose=whose.purpose,
        tenant_id=whose.tenant_id,
        owner_id=whose.owner_id,
        epoch=whose.epoch,
        created_at=_moment(row.get("createdAt")),
    )
    if row["applicationStatus"] != "done":
        return seen
    if not tasks:
        return replace(seen, status="stopped")
    status, exit_code = _task(tasks[0])
    return replace(seen, status=status, exit_code=exit_code)


def _status(application_status: str) -> Status:
    match application_status:
        case "running":  # a deployment is under way
            return "creating"
        case "done":
            return "running"
        case "error":
            return "error"
        case _:
            return "stopped"


def _task(task: Mapping[str, Any]) -> tuple[Status, int | None]:
    """Status and exit code of a swarm task: its current state, or on older servers only the wanted one."""
    current = str(task.get("currentState") or task.get("state") or "").split(" ")[0].lower()
    found = _EXIT.search(str(task.get("error") or ""))
    code = int(found.group(1)) if found else None
    if current == "running":
        return "running", None
    if current in _STARTING:
        return "creating", None
    if current == "rejected":
        return "error", code
    return "stopped", 0 if current == "complete" else code


def failure(messages: Sequence[str]) -> tuple[Failure, str]:
    """Why a deployment came to nothing, from what Dokploy says of it."""
    told = next((message for message in messages if message), "the deployment failed")
    missing = any(_NO_IMAGE.search(message.lower()) for message in messages)
    return ("image_missing" if missing else "create_failed"), told


def _moment(text: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(str(text))
    except ValueError:
        return None

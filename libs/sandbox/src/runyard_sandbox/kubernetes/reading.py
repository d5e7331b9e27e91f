"""What the API server says of a Sandbox and its pod, as a sandbox of ours. Pure."""

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, cast

from runyard_sandbox.kubernetes.labels import AT_REST, Identity
from runyard_sandbox.kubernetes.pod import CONTAINER
from runyard_sandbox.provisioner import Failure, Sandbox, Stats, Status

Resource = Mapping[str, Any]
NO_IMAGE = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"})
_BROKEN = NO_IMAGE | {"CreateContainerError", "RunContainerError"}
_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)([numkKMGTi]*)")
_UNITS = {
    "n": 1e-9, "u": 1e-6, "m": 1e-3, "": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12,
    "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40,
}  # fmt: skip


def sandbox(resource: Resource, whose: Identity, pod: Resource | None) -> Sandbox:
    """A Sandbox and the pod behind it, if there is one."""
    seen = Sandbox(
        name=whose.name,
        native_id=str(resource["metadata"]["uid"]),
        status="creating",
        purpose=whose.purpose,
        tenant_id=whose.tenant_id,
        owner_id=whose.owner_id,
        epoch=whose.epoch,
        created_at=_moment(resource["metadata"].get("creationTimestamp")),
        expires_at=_moment(resource["spec"].get("shutdownTime")),
    )
    at_rest = _at_rest(resource)
    if at_rest is not None:
        return replace(seen, status=at_rest)
    if pod is None:
        return replace(seen, status="stopped" if _is(resource, "Finished") else "creating")
    return _with_pod(seen, pod, whose.ports)


def _at_rest(resource: Resource) -> Status | None:
    mark = resource["metadata"].get("annotations", {}).get(AT_REST)
    if mark in {"stopped", "paused"}:
        return cast("Status", mark)
    return "stopped" if resource["spec"].get("operatingMode") == "Suspended" else None


def _with_pod(seen: Sandbox, pod: Resource, ports: tuple[int, ...]) -> Sandbox:
    status: Mapping[str, Any] = pod.get("status", {})
    container = _container(status)
    state: Mapping[str, Any] = container.get("state", {})
    if "terminated" in state or status.get("phase") in {"Failed", "Succeeded"}:
        end: Mapping[str, Any] = state.get("terminated", {})
        killed = end.get("reason") == "OOMKilled"
        return replace(seen, status="stopped", exit_code=end.get("exitCode"), out_of_memory=killed)
    if state.get("waiting", {}).get("reason") in _BROKEN:
        return replace(seen, status="error")
    if "running" not in state:
        return seen
    address = status.get("podIP")
    return replace(
        seen,
        status="running",
        healthy=_healthy(pod, container),
        addresses={port: f"{address}:{port}" for port in ports} if address else {},
    )


def _healthy(pod: Resource, container: Mapping[str, Any]) -> bool | None:
    """None before the first look: not ready says something only of one that has been ready since it was started."""
    if "readinessProbe" not in pod["spec"]["containers"][0]:
        return None
    if container.get("ready"):
        return True
    conditions: list[Mapping[str, Any]] = pod["status"].get("conditions", [])
    turned = next((_moment(one.get("lastTransitionTime")) for one in conditions if one["type"] == "Ready"), None)
    started = _moment(container["state"]["running"].get("startedAt"))
    return False if turned is not None and started is not None and turned > started else None


def why_not(pod: Resource | None) -> tuple[Failure, str]:
    """Why a pod does not run."""
    status: Mapping[str, Any] = (pod or {}).get("status", {})
    waiting: Mapping[str, Any] = _container(status).get("state", {}).get("waiting", {})
    reason = str(waiting.get("reason", ""))
    if reason:
        told = f"{reason}: {waiting.get('message', '')}".rstrip(": ")
        return ("image_missing" if reason in NO_IMAGE else "create_failed"), told
    for condition in status.get("conditions", []):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return "create_failed", f"no node takes it: {condition.get('message', '')}"
    return "create_failed", "its pod did not run in time"


def has_ended(pod: Resource) -> bool:
    """Whether a pod will never run again."""
    return pod.get("status", {}).get("phase") in {"Failed", "Succeeded"}


def change(kind: str, pod: Resource) -> str:
    """What happened to a pod, in the words of container engines."""
    if kind == "DELETED":
        return "destroy"
    state: Mapping[str, Any] = _container(pod.get("status", {})).get("state", {})
    if "terminated" in state:
        return "oom" if state["terminated"].get("reason") == "OOMKilled" else "die"
    return "start" if "running" in state else "create"


def stats(metrics: Resource) -> Stats:
    """A PodMetrics of the metrics API."""
    usage: list[Mapping[str, str]] = [one["usage"] for one in metrics["containers"]]
    return Stats(
        at=datetime.fromisoformat(metrics["timestamp"]),
        cpu_percent=round(100 * sum(quantity(one["cpu"]) for one in usage), 3),
        memory_bytes=int(sum(quantity(one["memory"]) for one in usage)),
    )


def quantity(text: str) -> float:
    """A Kubernetes quantity: `250m`, `64Mi`, `12345n`.

    Raises:
        ValueError: not one.
    """
    found = _QUANTITY.fullmatch(text)
    if found is None or found[2] not in _UNITS:
        raise ValueError(f"not a quantity: {text}")
    return float(found[1]) * _UNITS[found[2]]


def _container(status: Mapping[str, Any]) -> Mapping[str, Any]:
    statuses: list[Mapping[str, Any]] = status.get("containerStatuses", [])
    return next((one for one in statuses if one["name"] == CONTAINER), dict[str, Any]())


def _is(resource: Resource, condition: str) -> bool:
    conditions = resource.get("status", {}).get("conditions", [])
    return any(one["type"] == condition and one["status"] == "True" for one in conditions)


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)

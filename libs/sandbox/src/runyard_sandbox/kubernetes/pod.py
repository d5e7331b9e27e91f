"""The pod of a sandbox: hardened, limited, with the shared storage's folders. Pure."""

from typing import Any

from runyard_sandbox.kubernetes.settings import KubernetesSettings
from runyard_sandbox.provisioner import PROXY_NAME, Limits, Mount, ProvisionFailed, Spec

CONTAINER = "sandbox"
_VOLUME = "shared"
_SECRETS_BYTES = 1024 * 1024


def pod_spec(spec: Spec, settings: KubernetesSettings, *, secret: str | None, proxy: str) -> dict[str, Any]:
    """A PodSpec. Environment variables come from a Secret, so that reading pods does not read tokens.

    It knows one name, that of the proxy. All others it asks the proxy for, which knows none: whoever may ask the
    cluster's DNS can tell the outside anything by the names that it asks for.

    `Limits.processes` has no field here: it is the kubelet's `podPidsLimit`. A pod that has ended is not
    started again: what ends a sandbox is told, and decided on by whoever asked for it.

    Raises:
        ProvisionFailed: no image, user 0, or a folder that cannot be mounted.
    """
    user, _, group = (spec.user or settings.user).partition(":")
    if not (user.isdigit() and group.isdigit()) or "0" in {user, group}:
        raise ProvisionFailed(f"a sandbox runs as uid:gid and neither is 0, not as {spec.user}")
    pod: dict[str, Any] = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "hostAliases": [{"ip": proxy, "hostnames": [PROXY_NAME]}],
        "dnsPolicy": "None",
        "dnsConfig": {"nameservers": [proxy], "options": [{"name": "timeout", "value": "1"}]},
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 10,
        # No fsGroup: for it the whole of the shared storage would be given to this group, file by file.
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": int(user),
            "runAsGroup": int(group),
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(spec, settings, secret)],
        "volumes": _volumes(spec, settings),
    }
    if spec.runtime is not None:
        pod["runtimeClassName"] = spec.runtime
    return pod


def _container(spec: Spec, settings: KubernetesSettings, secret: str | None) -> dict[str, Any]:
    image = spec.image or settings.images.get(spec.purpose)
    if image is None:
        raise ProvisionFailed(f"no image is configured for {spec.purpose}", reason="image_missing")
    container: dict[str, Any] = {
        "name": CONTAINER,
        "image": image,
        "resources": _resources(spec.limits),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "privileged": False,
            "readOnlyRootFilesystem": spec.read_only_root,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - its own, in memory
            {"name": "secrets", "mountPath": "/run/secrets"},
            *(_mount(mount, settings) for mount in spec.mounts),
        ],
    }
    if spec.command is not None:
        container["args"] = list(spec.command)  # the image's entry point stays
    if spec.working_directory is not None:
        container["workingDir"] = spec.working_directory
    if secret is not None:
        container["envFrom"] = [{"secretRef": {"name": secret}}]
    if spec.ports:
        container["ports"] = [{"containerPort": port, "protocol": "TCP"} for port in spec.ports]
    if spec.health is not None:
        # Readiness, not liveness: an unhealthy one is told of, not killed.
        container["readinessProbe"] = {
            "exec": {"command": list(spec.health.test)},
            "periodSeconds": max(1, round(spec.health.every_seconds)),
            "timeoutSeconds": max(1, round(spec.health.timeout_seconds)),
            "failureThreshold": spec.health.retries,
        }
    return container


def _resources(limits: Limits) -> dict[str, dict[str, str]]:
    """Limits, and what is kept free. A reservation that is not given would be taken to be the limit."""
    most = {"cpu": _cpu(limits.cpus), "memory": str(limits.memory_bytes)}
    kept = {
        "cpu": _cpu(limits.cpus if limits.reserved_cpus is None else limits.reserved_cpus),
        "memory": str(limits.reserved_memory_bytes or limits.memory_bytes),
    }
    return {"limits": most, "requests": kept}


def _cpu(cpus: float) -> str:
    return f"{round(cpus * 1000)}m"


def _volumes(spec: Spec, settings: KubernetesSettings) -> list[dict[str, Any]]:
    volumes: list[dict[str, Any]] = [
        _in_memory("tmp", spec.limits.temporary_bytes),
        _in_memory("secrets", _SECRETS_BYTES),
    ]
    if spec.mounts and settings.claim is not None:
        volumes.append({"name": _VOLUME, "persistentVolumeClaim": {"claimName": settings.claim}})
    return volumes


def _in_memory(name: str, size: int) -> dict[str, Any]:
    return {"name": name, "emptyDir": {"medium": "Memory", "sizeLimit": str(size)}}


def _mount(mount: Mount, settings: KubernetesSettings) -> dict[str, Any]:
    """A folder of this host as a part of the claim that holds it, and no other part of it."""
    if settings.shared is None or settings.claim is None:
        raise ProvisionFailed(f"{mount.source} cannot be mounted: no claim holds folders of this host")
    place = settings.shared.below(mount)
    return {"name": _VOLUME, "mountPath": mount.target, "subPath": str(place), "readOnly": mount.read_only}

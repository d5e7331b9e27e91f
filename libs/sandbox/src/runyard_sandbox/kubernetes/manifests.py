"""The resources of a sandbox (`agents.x-k8s.io/v1beta1`, Secret) and the policy of all of them."""

import base64
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from runyard_sandbox.kubernetes.labels import INSTALLATION, annotations, labels
from runyard_sandbox.kubernetes.pod import pod_spec
from runyard_sandbox.kubernetes.settings import KubernetesSettings
from runyard_sandbox.provisioner import ProvisionFailed, Spec

AGENTS = "agents.x-k8s.io/v1beta1"
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

Manifest = dict[str, Any]


def sandbox_manifest(spec: Spec, settings: KubernetesSettings, *, proxy: str) -> Manifest:
    """A Sandbox: one pod that the controller keeps, suspends and resumes. `proxy` is the address of our proxy."""
    manifest: Manifest = {
        "apiVersion": AGENTS,
        "kind": "Sandbox",
        "metadata": _metadata(spec, settings),
        "spec": {
            "operatingMode": "Running",
            "podTemplate": {
                "metadata": {"labels": labels(spec, settings.installation), "annotations": annotations(spec)},
                "spec": pod_spec(spec, settings, secret=spec.name if spec.env else None, proxy=proxy),
            },
        },
    }
    if spec.expires_at is not None:
        manifest["spec"] |= {"shutdownTime": _time(spec.expires_at), "shutdownPolicy": "Delete"}
    return manifest


def secret_manifest(spec: Spec, settings: KubernetesSettings, owner_uid: str) -> Manifest:
    """The sandbox's environment; it goes with the Sandbox that owns it.

    Raises:
        ProvisionFailed: a name that no environment variable can have.
    """
    for name in spec.env:
        if not _KEY.fullmatch(name):
            raise ProvisionFailed(f"{name!r} is no name for an environment variable")
    owner = {"apiVersion": AGENTS, "kind": "Sandbox", "name": spec.name, "uid": owner_uid}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {**_metadata(spec, settings), "ownerReferences": [owner]},
        "type": "Opaque",
        "immutable": True,
        "data": {name: base64.b64encode(value.encode()).decode() for name, value in spec.env.items()},
    }


def network_policy(settings: KubernetesSettings) -> Manifest:
    """Nothing in or out of any sandbox but to the egress proxy (and from whoever serves previews)."""
    reach = settings.reach
    doors = [*(_port("TCP", port) for port in reach.proxy_ports), _port("UDP", reach.names_port)]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {
            "name": f"runyard-{settings.installation}",
            "namespace": settings.namespace,
            "labels": {INSTALLATION: settings.installation},
        },
        "spec": {
            "podSelector": {"matchLabels": {INSTALLATION: settings.installation}},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [] if reach.callers is None else [{"from": [_pods(reach.callers)]}],
            "egress": [{"to": [_pods(reach.proxy)], "ports": doors}],
        },
    }


def _metadata(spec: Spec, settings: KubernetesSettings) -> Manifest:
    return {
        "name": spec.name,
        "namespace": settings.namespace,
        "labels": labels(spec, settings.installation),
        "annotations": annotations(spec),
    }


def _pods(marks: Mapping[str, str]) -> Manifest:
    return {"podSelector": {"matchLabels": dict(marks)}}


def _port(protocol: str, port: int) -> Manifest:
    return {"protocol": protocol, "port": port}


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

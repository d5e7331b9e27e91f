"""The resources of a sandbox and of an installation: those of the agent-sandbox project (v1beta1), Secret, policy."""

import base64
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from runyard_sandbox.kubernetes.labels import INSTALLATION, PURPOSE, annotations, labels
from runyard_sandbox.kubernetes.pod import pod_spec
from runyard_sandbox.kubernetes.settings import KubernetesSettings
from runyard_sandbox.provisioner import ProvisionFailed, Purpose, Spec

AGENTS = "agents.x-k8s.io/v1beta1"
EXTENSIONS = "extensions.agents.x-k8s.io/v1beta1"
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

Manifest = dict[str, Any]


def sandbox_manifest(spec: Spec, settings: KubernetesSettings) -> Manifest:
    """A Sandbox: one pod that the controller keeps, suspends and resumes."""
    manifest: Manifest = {
        "apiVersion": AGENTS,
        "kind": "Sandbox",
        "metadata": _metadata(spec, settings),
        "spec": {
            "operatingMode": "Running",
            "podTemplate": {
                "metadata": {"labels": labels(spec, settings.installation), "annotations": annotations(spec)},
                "spec": pod_spec(spec, settings, secret=spec.name if spec.env else None),
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


def claim_manifest(spec: Spec, settings: KubernetesSettings, pool: str) -> Manifest:
    """A SandboxClaim on a warm pool.

    With environment variables the controller starts a new pod from the pool's template, and they stand in the
    claim for whoever may read it; without, it hands over a pod that runs.
    """
    wanted: Manifest = {
        "warmPoolRef": {"name": pool},
        "additionalPodMetadata": {
            "labels": labels(spec, settings.installation),
            "annotations": annotations(spec),
        },
        "lifecycle": {"shutdownPolicy": "Delete"},
    }
    if spec.env:
        wanted["env"] = [{"name": name, "value": value} for name, value in spec.env.items()]
    if spec.expires_at is not None:
        wanted["lifecycle"]["shutdownTime"] = _time(spec.expires_at)
    return {
        "apiVersion": EXTENSIONS,
        "kind": "SandboxClaim",
        "metadata": _metadata(spec, settings),
        "spec": wanted,
    }


def template_manifest(spec: Spec, settings: KubernetesSettings) -> Manifest:
    """The SandboxTemplate that a pool's sandboxes are made from; `spec` says everything but whose they are.

    Its network policy is ours (`network_policy`), which selects pods by the installation's label.
    """
    ours = {INSTALLATION: settings.installation, PURPOSE: spec.purpose}
    return {
        "apiVersion": EXTENSIONS,
        "kind": "SandboxTemplate",
        "metadata": {"name": spec.name, "namespace": settings.namespace, "labels": ours},
        "spec": {
            "podTemplate": {"metadata": {"labels": ours}, "spec": pod_spec(spec, settings, secret=None)},
            "networkPolicyManagement": "Unmanaged",
            "envVarsInjectionPolicy": "Allowed",
        },
    }


def pool_manifest(purpose: Purpose, settings: KubernetesSettings, *, template: str, replicas: int) -> Manifest:
    """The SandboxWarmPool that keeps `replicas` sandboxes of a template running ahead of need."""
    return {
        "apiVersion": EXTENSIONS,
        "kind": "SandboxWarmPool",
        "metadata": {
            "name": settings.warm_pools[purpose],
            "namespace": settings.namespace,
            "labels": {INSTALLATION: settings.installation, PURPOSE: purpose},
        },
        "spec": {"replicas": replicas, "sandboxTemplateRef": {"name": template}},
    }


def network_policy(settings: KubernetesSettings) -> Manifest:
    """Nothing in or out of any sandbox but to the egress proxy (and from whoever serves previews)."""
    reach = settings.reach
    egress: list[Manifest] = [{"to": [_pods(reach.proxy)], "ports": [_port("TCP", port) for port in reach.proxy_ports]}]
    if reach.dns:
        system = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}}
        resolver = {**system, **_pods({"k8s-app": "kube-dns"})}
        egress.append({"to": [resolver], "ports": [_port("UDP", 53), _port("TCP", 53)]})
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
            "egress": egress,
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

"""What tests on Kubernetes ask for, and what their provisioner is told."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from runyard_sandbox import Mount
from runyard_sandbox.kubernetes import Cluster, KubernetesSettings, Reach
from runyard_sandbox.remote import Patience
from runyard_sandbox.shared import SharedFolder

from .fake_kubernetes import NAMESPACE, TOKEN, FakeKubernetes
from .specs import AGENT

SPEC = replace(
    AGENT,
    mounts=(*AGENT.mounts, Mount(Path("/shared/git"), "/shared/git", read_only=True)),
    working_directory="/shared/w/s-1",
)


def settings(server: FakeKubernetes, **changed: Any) -> KubernetesSettings:
    values: dict[str, Any] = {
        "cluster": Cluster(address=server.url, token=lambda: TOKEN, authority=server.authority),
        "namespace": NAMESPACE,
        "installation": "here",
        "images": {"agent": "runyard/agent:1"},
        "reach": Reach(service="runyard-proxy", proxy={"app": "runyard-proxy"}, callers={"app": "runyard-gateway"}),
        "claim": "runyard-files",
        "shared": SharedFolder(Path("/shared")),
        "start_seconds": 5,
        "poll_seconds": 0.01,
        "stats_seconds": 0.01,
        "patience": Patience(answer_seconds=2, attempts=3, first_pause_seconds=0.01),
        **changed,
    }
    return KubernetesSettings(**values)

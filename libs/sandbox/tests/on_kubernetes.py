"""What tests on Kubernetes ask for, and what their provisioner is told."""

from pathlib import Path
from typing import Any

from runyard_sandbox import Mount, Spec
from runyard_sandbox.kubernetes import Cluster, KubernetesSettings, Reach
from runyard_sandbox.remote import Patience
from runyard_sandbox.shared import SharedFolder

from .fake_kubernetes import NAMESPACE, TOKEN, FakeKubernetes

SPEC = Spec(
    name="runyard-0a1b2c3d-1",
    purpose="agent",
    tenant_id="t-1",
    owner_id="s-1",
    epoch=1,
    image=None,
    command=("python", "-m", "runyard_runner_codex"),
    env={"SESSION_TOKEN": "a-session-token"},
    mounts=(
        Mount(Path("/shared/w/s-1"), "/shared/w/s-1"),
        Mount(Path("/shared/git"), "/shared/git", read_only=True),
    ),
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

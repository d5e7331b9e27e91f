"""Sandboxes on Kubernetes, as resources of the agent-sandbox project (`agents.x-k8s.io/v1beta1`).

The cluster needs that project's controller, a ReadWriteMany claim for worktrees, a network plugin that keeps
NetworkPolicies, the proxy's Service, and `podPidsLimit` on its kubelets: the number of processes is theirs to limit.
"""

from runyard_sandbox.kubernetes.provisioner import KubernetesProvisioner
from runyard_sandbox.kubernetes.settings import Cluster, KubernetesSettings, Reach, in_cluster

__all__ = ["Cluster", "KubernetesProvisioner", "KubernetesSettings", "Reach", "in_cluster"]

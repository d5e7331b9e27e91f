"""The calls to the API server that are used."""

import ssl
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import httpx

from runyard_sandbox.kubernetes.exec import run_in_pod
from runyard_sandbox.kubernetes.manifests import AGENTS, Manifest
from runyard_sandbox.kubernetes.pod import CONTAINER
from runyard_sandbox.kubernetes.settings import KubernetesSettings
from runyard_sandbox.provisioner import EngineAway, ExecResult
from runyard_sandbox.remote import Credential, Refused, Remote

_PLURALS = {
    "Sandbox": f"apis/{AGENTS}",
    "Secret": "api/v1",
    "Pod": "api/v1",
    "Service": "api/v1",
    "NetworkPolicy": "apis/networking.k8s.io/v1",
}
_METRICS = "apis/metrics.k8s.io/v1beta1"
_MANAGER = "runyard"
REMEDY = "the orchestrator's service account needs the role of deploy/kubernetes/orchestrator.yaml"


class KubeApi:
    """One namespace of one cluster."""

    def __init__(self, settings: KubernetesSettings) -> None:
        cluster = settings.cluster
        self._namespace = settings.namespace
        self._address = cluster.address.rstrip("/")
        self._tls: ssl.SSLContext | bool = cluster.tls()
        self._credential = Credential(
            "Authorization",
            cluster.token,
            "Bearer ",
            remedy=REMEDY,
        )
        self._remote = Remote(
            "Kubernetes",
            cluster.address,
            credential=self._credential,
            patience=settings.patience,
            verify=self._tls,
        )

    async def close(self) -> None:
        """Closes all connections."""
        await self._remote.close()

    async def create(self, manifest: Manifest) -> Manifest:
        """The new resource; 409 when there is one of this name."""
        return await self._of_collection("POST", manifest["kind"], body=manifest)

    async def apply(self, manifest: Manifest) -> Manifest:
        """Makes a resource be so, whatever it was before (server-side apply; may be repeated)."""
        return await self._call(
            "PATCH",
            self._path(manifest["kind"], manifest["metadata"]["name"]),
            params={"fieldManager": _MANAGER, "force": "true"},
            body=manifest,
            content_type="application/apply-patch+yaml",
            may_repeat=True,
        )

    async def patch(self, kind: str, name: str, change: Mapping[str, Any]) -> Manifest:
        """Changes fields of a resource; null removes one."""
        return await self._call(
            "PATCH",
            self._path(kind, name),
            body=change,
            content_type="application/merge-patch+json",
            may_repeat=True,
        )

    async def find(self, kind: str, name: str) -> Manifest | None:
        """One resource; None: there is none, or it is on its way out."""
        try:
            found = await self._call("GET", self._path(kind, name))
        except Refused as error:
            if error.is_missing:
                return None
            raise
        return None if "deletionTimestamp" in found["metadata"] else found

    async def list(self, kind: str, selector: str) -> tuple[Sequence[Manifest], str]:
        """Those with these labels, and the version of the collection that a watch begins at."""
        found = await self._of_collection("GET", kind, params={"labelSelector": selector})
        items = [one for one in found["items"] if "deletionTimestamp" not in one["metadata"]]
        return items, str(found["metadata"].get("resourceVersion", ""))

    async def delete(self, kind: str, name: str) -> None:
        """Removes it and what it owns; what is gone stays gone."""
        options = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
        try:
            await self._call("DELETE", self._path(kind, name), body=options)
        except Refused as error:
            if not error.is_missing:
                raise

    async def may(self, verb: str, kind: str, group: str) -> bool:
        """Whether our account may do this in the namespace."""
        attributes = {"namespace": self._namespace, "verb": verb, "group": group, "resource": _plural(kind)}
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        path = "apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        answer = await self._call("POST", path, body=review, may_repeat=True)
        return bool(answer["status"]["allowed"])

    async def has_metrics(self) -> bool:
        """Whether the cluster measures its pods."""
        try:
            await self._call("GET", _METRICS)
        except Refused as error:
            if error.is_missing:
                return False
            raise
        return True

    async def metrics(self, pod: str) -> Manifest | None:
        """What a pod uses; None: not measured yet."""
        try:
            return await self._call("GET", f"{_METRICS}/namespaces/{self._namespace}/pods/{pod}")
        except Refused as error:
            if error.is_missing:
                return None
            raise

    @asynccontextmanager
    async def watch_pods(self, selector: str, version: str) -> AsyncGenerator[httpx.Response]:
        """Changes as lines of JSON, from a version on."""
        params = {"watch": "true", "labelSelector": selector, "resourceVersion": version}
        async with self._remote.lines(self._path("Pod"), params=params) as answer:
            yield answer

    @asynccontextmanager
    async def logs(self, pod: str, *, follow: bool, tail: int) -> AsyncGenerator[httpx.Response]:
        """What the container printed, each line behind its time."""
        params = {"container": CONTAINER, "timestamps": "true", "tailLines": str(tail), "follow": str(follow).lower()}
        async with self._remote.lines(f"{self._path('Pod', pod)}/log", params=params) as answer:
            yield answer

    async def exec(self, pod: str, command: Sequence[str], stdin: bytes | None) -> ExecResult:
        """Runs a command in the pod's container."""
        return await run_in_pod(
            f"{self._address}/{self._path('Pod', pod)}/exec",
            command,
            container=CONTAINER,
            stdin=stdin,
            headers=self._credential.headers(),
            tls=self._tls,
        )

    def _path(self, kind: str, name: str | None = None) -> str:
        path = f"{_PLURALS[kind]}/namespaces/{self._namespace}/{_plural(kind)}"
        return path if name is None else f"{path}/{name}"

    async def _of_collection(self, method: str, kind: str, **options: Any) -> Manifest:
        try:
            return await self._call(method, self._path(kind), **options)
        except Refused as error:
            if not error.is_missing:
                raise
            raise EngineAway(f"{error} (is the namespace there, and the controller of agent-sandbox?)") from None

    async def _call(self, method: str, path: str, **options: Any) -> Manifest:
        return cast("Manifest", await self._remote.call(method, path, **options))


def _plural(kind: str) -> str:
    plural = kind.lower()
    return f"{plural[:-1]}ies" if plural.endswith("y") else f"{plural}es" if plural.endswith("x") else f"{plural}s"

"""An API server with the agent-sandbox controller as far as the provisioner uses them, over real HTTPS.

It checks the token, the namespace, content types and every manifest against the schemas of `crds.py`, and answers
with the Status objects of the real one. The controller takes one step per request.
"""

import asyncio
import base64
import copy
import itertools
import json
import ssl
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import WSMsgType, web

from .certificates import authority_and_server
from .crds import faults
from .mains import Mains

TOKEN = "a-service-account-token"
NAMESPACE = "runyard"
PROXY = "10.96.0.53"
KINDS = {
    ("apis", "agents.x-k8s.io/v1beta1", "sandboxes"): "Sandbox",
    ("apis", "networking.k8s.io/v1", "networkpolicies"): "NetworkPolicy",
    ("api", "v1", "secrets"): "Secret",
    ("api", "v1", "pods"): "Pod",
    ("api", "v1", "services"): "Service",
}
Resource = dict[str, Any]


class Status(Exception):
    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code, self.reason = code, reason


class FakeKubernetes:
    """Its resources, to be looked at and to be meddled with."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.resources: dict[str, dict[str, Resource]] = {kind: {} for kind in KINDS.values()}
        self.resources["Service"]["runyard-proxy"] = {
            "metadata": {"name": "runyard-proxy", "namespace": NAMESPACE},
            "spec": {"clusterIP": PROXY},
        }
        self.mains = Mains()
        self.is_away = False
        self.rights: set[tuple[str, str, str]] = set()
        """What an account needs for all that was asked: group, resource, verb."""
        self.asked: Counter[str] = Counter()
        self.faults: dict[str, list[int]] = {}
        """Method and kind (`POST Sandbox`) -> statuses of its next answers; 0: no answer at all."""
        self.missing_images = {"no/such:image"}
        self.pod_address = "10.1.0.9"
        self.has_room = True
        self.may_create = True
        self.has_controller = True
        self.has_metrics = True
        self.logs = ["2026-11-21T08:00:00.123456789Z one", "2026-11-21T08:00:01Z two"]
        self.exec_protocols: tuple[str, ...] = ("v5.channel.k8s.io", "v4.channel.k8s.io")
        self.commands: list[list[str]] = []
        self.url = ""
        self.authority = folder / "ca.pem"
        self.stopping = asyncio.Event()
        self.watched = asyncio.Event()
        self._watchers: list[asyncio.Queue[bytes]] = []
        self._numbers = itertools.count(1)

    @property
    def pod(self) -> Resource:
        """The one pod there is."""
        (one,) = self.resources["Pod"].values()
        return one

    def ends(self, code: int, reason: str = "Error") -> None:
        """The one pod's container ends by itself."""
        self.pod["status"] = {
            "phase": "Failed" if code else "Succeeded",
            "containerStatuses": [{"name": "sandbox", "state": {"terminated": {"exitCode": code, "reason": reason}}}],
        }
        self.mains.down(self.pod["metadata"]["name"])
        self._tell("MODIFIED", self.pod)

    def removes(self, name: str) -> None:
        """Somebody removes a sandbox behind our back."""
        self._remove("Sandbox", name)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        try:
            return await self._handle(request)
        except Status as status:
            body = {
                "kind": "Status",
                "apiVersion": "v1",
                "status": "Failure",
                "message": str(status),
                "reason": status.reason,
                "code": status.code,
            }
            return web.json_response(body, status=status.code)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if self.is_away and request.transport is not None:
            request.transport.abort()
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            raise Status(401, "Unauthorized", f"Unauthorized {request.headers.get('Authorization')}")
        match request.path.strip("/").split("/"):
            case ["apis", "authorization.k8s.io", "v1", "selfsubjectaccessreviews"]:
                review = await self._body(request, "application/json")
                return web.json_response({**review, "status": {"allowed": self.may_create}}, status=201)
            case ["apis", "metrics.k8s.io", "v1beta1", *rest]:
                return self._measured(rest)
            case [root, *group, "namespaces", namespace, plural]:
                return await self._collection(request, self._kind(root, group, namespace, plural))
            case [root, *group, "namespaces", namespace, plural, name]:
                return await self._one(request, self._kind(root, group, namespace, plural), name)
            case ["api", "v1", "namespaces", namespace, "pods", name, sub]:
                self._kind("api", ["v1"], namespace, "pods")
                self.rights.add(("", f"pods/{sub}", "get"))
                return await self._pod_part(request, name, sub)
            case _:
                raise Status(404, "NotFound", "the server could not find the requested resource")

    def _kind(self, root: str, group: list[str], namespace: str, plural: str) -> str:
        if namespace != NAMESPACE:
            raise Status(403, "Forbidden", f"no access to the namespace {namespace}")
        kind = KINDS.get((root, "/".join(group), plural))
        if kind is None or (kind == "Sandbox" and not self.has_controller):
            raise Status(404, "NotFound", "the server could not find the requested resource")
        return kind

    async def _count(self, method: str, kind: str) -> None:
        key = f"{method} {kind}"
        self.asked[key] += 1
        if self.faults.get(key):
            code = self.faults[key].pop(0)
            if not code:
                await self.stopping.wait()
            raise Status(code, "InternalError", f"it broke, with {TOKEN}")
        self._control()

    def _needs(self, kind: str, verb: str) -> None:
        group, resource = next((group, plural) for (_, group, plural), known in KINDS.items() if known == kind)
        self.rights.add((group.rpartition("/")[0], resource, verb))

    async def _body(self, request: web.Request, *content_types: str) -> Resource:
        if request.content_type not in content_types:
            raise Status(415, "UnsupportedMediaType", f"not {request.content_type}")
        return await request.json()

    async def _collection(self, request: web.Request, kind: str) -> web.StreamResponse:
        await self._count(request.method, kind)
        watched = "watch" if request.query.get("watch") == "true" else "list"
        self._needs(kind, "create" if request.method == "POST" else watched)
        if request.method == "POST":
            manifest = await self._body(request, "application/json")
            self._check(manifest, kind)
            if manifest["metadata"]["name"] in self.resources[kind]:
                raise Status(409, "AlreadyExists", f"{kind} {manifest['metadata']['name']} already exists")
            return web.json_response(self._store(manifest), status=201)
        if request.query.get("watch") == "true":
            return await self._watch(request)
        wanted = dict(part.split("=") for part in request.query.get("labelSelector", "").split(",") if part)
        items = [one for one in self.resources[kind].values() if wanted.items() <= self._labels(one).items()]
        return web.json_response({"kind": f"{kind}List", "metadata": {"resourceVersion": "7"}, "items": items})

    async def _one(self, request: web.Request, kind: str, name: str) -> web.StreamResponse:
        await self._count(request.method, kind)
        self._needs(kind, request.method.lower())
        if request.method == "PATCH" and request.content_type == "application/apply-patch+yaml":
            if not request.query.get("fieldManager"):
                raise Status(400, "BadRequest", "fieldManager is required for apply patch")
            manifest = await self._body(request, "application/apply-patch+yaml")
            self._needs(kind, "create")  # as there may be none yet
            self._check(manifest, kind)
            return web.json_response(self._store(manifest))
        if name not in self.resources[kind]:
            raise Status(404, "NotFound", f'{kind} "{name}" not found')
        found = self.resources[kind][name]
        match request.method:
            case "GET":
                pass
            case "PATCH":
                _merge(found, await self._body(request, "application/merge-patch+json"))
            case "DELETE":
                options = await self._body(request, "application/json")
                if options.get("kind") != "DeleteOptions":
                    raise Status(400, "BadRequest", "not DeleteOptions")
                self._remove(kind, name)
            case _:
                raise Status(405, "MethodNotAllowed", request.method)
        return web.json_response(found)

    def _check(self, manifest: Resource, kind: str) -> None:
        if manifest.get("kind") != kind or manifest.get("metadata", {}).get("namespace") != NAMESPACE:
            raise Status(400, "BadRequest", "the resource does not belong at this path")
        wrong = faults(manifest)
        if wrong:
            raise Status(422, "Invalid", "; ".join(wrong))

    def _store(self, manifest: Resource) -> Resource:
        stored = copy.deepcopy(manifest)
        known = self.resources[manifest["kind"]].get(manifest["metadata"]["name"])
        uid = known["metadata"]["uid"] if known else f"uid-{next(self._numbers)}"
        stored["metadata"] |= {"uid": uid, "creationTimestamp": "2026-11-21T08:00:00Z"}
        self.resources[manifest["kind"]][manifest["metadata"]["name"]] = stored
        return stored

    def _remove(self, kind: str, name: str) -> None:
        gone = self.resources[kind].pop(name)
        if kind == "Pod":
            self.mains.down(name)
            self._tell("DELETED", gone)
        for other, resources in self.resources.items():
            for one in list(resources.values()):
                owners = one["metadata"].get("ownerReferences", [])
                if any(owner["uid"] == gone["metadata"]["uid"] for owner in owners):
                    self._remove(other, one["metadata"]["name"])

    def _labels(self, resource: Resource) -> dict[str, str]:
        return resource["metadata"].get("labels", {})

    def _control(self) -> None:
        """One step of the controller."""
        for sandbox in list(self.resources["Sandbox"].values()):
            name, pods = sandbox["metadata"]["name"], self.resources["Pod"]
            if sandbox["spec"].get("operatingMode") == "Suspended":
                if name in pods:
                    self._remove("Pod", name)
            elif name not in pods:
                self._make_pod(sandbox)
            else:
                self._run(pods[name])

    def _make_pod(self, sandbox: Resource) -> None:
        template = copy.deepcopy(sandbox["spec"]["podTemplate"])
        metadata = {**template["metadata"], "name": sandbox["metadata"]["name"], "namespace": NAMESPACE}
        metadata["ownerReferences"] = [_owner(sandbox)]
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
        stored = self._store(pod)
        stored["status"] = {"phase": "Pending"}
        self._tell("ADDED", stored)

    def _run(self, pod: Resource) -> None:
        if pod["status"]["phase"] != "Pending":
            return
        container = pod["spec"]["containers"][0]
        needed = {one["secretRef"]["name"] for one in container.get("envFrom", [])}
        if not self.has_room:
            condition = {"type": "PodScheduled", "status": "False", "message": "0/3 nodes have enough memory"}
            pod["status"] = {"phase": "Pending", "conditions": [condition]}
        elif needed - self.resources["Secret"].keys():
            self._waits(pod, "CreateContainerConfigError")
        elif container["image"] in self.missing_images:
            self._waits(pod, "ErrImagePull")
        else:
            state = {"name": "sandbox", "ready": True, "state": {"running": {"startedAt": "2026-11-21T08:00:01Z"}}}
            pod["status"] = {"phase": "Running", "podIP": self.pod_address, "containerStatuses": [state]}
            secrets = [self.resources["Secret"][name]["data"] for name in sorted(needed)]
            env = {key: base64.b64decode(value).decode() for data in secrets for key, value in data.items()}
            self.mains.up(pod["metadata"]["name"], env)
            self._tell("MODIFIED", pod)

    def _waits(self, pod: Resource, reason: str) -> None:
        waiting = {"waiting": {"reason": reason, "message": "because"}}
        pod["status"] = {"phase": "Pending", "containerStatuses": [{"name": "sandbox", "state": waiting}]}

    def _measured(self, rest: list[str]) -> web.StreamResponse:
        if not self.has_metrics:
            raise Status(404, "NotFound", "the server could not find the requested resource")
        if rest:
            self.rights.add(("metrics.k8s.io", "pods", "get"))
        else:
            return web.json_response({"kind": "APIResourceList"})
        if rest[-1] not in self.resources["Pod"]:
            raise Status(404, "NotFound", "podmetrics not found")
        self.asked["metrics"] += 1
        usage = {"cpu": "250000000n", "memory": "65536Ki"}
        stamp = f"2026-11-21T08:00:{self.asked['metrics']:02}Z"
        return web.json_response({"timestamp": stamp, "containers": [{"name": "sandbox", "usage": usage}]})

    def _tell(self, kind: str, pod: Resource) -> None:
        line = json.dumps({"type": kind, "object": pod}).encode() + b"\n"
        for watcher in self._watchers:
            watcher.put_nowait(line)

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        if not request.query.get("resourceVersion"):
            raise Status(400, "BadRequest", "resourceVersion is needed")
        answer = web.StreamResponse()
        await answer.prepare(request)
        queue: asyncio.Queue[bytes] = asyncio.Queue()
        self._watchers.append(queue)
        self.watched.set()
        while True:
            line = await queue.get()
            if not line:
                return answer
            await answer.write(line)

    def end_watches(self) -> None:
        """Ends every watch, as a server does now and then."""
        for watcher in self._watchers:
            watcher.put_nowait(b"")

    async def _pod_part(self, request: web.Request, name: str, part: str) -> web.StreamResponse:
        self._control()
        if name not in self.resources["Pod"]:
            raise Status(404, "NotFound", f'pods "{name}" not found')
        if request.query.get("container") != "sandbox":
            raise Status(400, "BadRequest", "container is not valid for pod")
        if part == "log":
            lines = self.logs[-int(request.query["tailLines"]) :]
            return web.Response(text="".join(f"{line}\n" for line in lines))
        return await self._exec(request)

    async def _exec(self, request: web.Request) -> web.StreamResponse:
        command = request.query.getall("command")
        self.commands.append(command)
        socket = web.WebSocketResponse(protocols=self.exec_protocols)
        await socket.prepare(request)
        given = b""
        if request.query.get("stdin") == "true":
            async for message in socket:
                if message.type is WSMsgType.BINARY and message.data[:1] == b"\x00":
                    given += message.data[1:]
                elif message.data == b"\xff\x00":
                    break
        if command[0] == "hang":
            await self.stopping.wait()
        await socket.send_bytes(b"\x01" + (given or b"out "))
        await socket.send_bytes(b"\x02err")
        code = int(command[1]) if command[0] == "exit" else 0
        causes = [{"reason": "ExitCode", "message": str(code)}]
        failure = {"status": "Failure", "reason": "NonZeroExitCode", "details": {"causes": causes}}
        await socket.send_bytes(b"\x03" + json.dumps(failure if code else {"status": "Success"}).encode())
        await socket.close()
        return socket


def _owner(resource: Resource) -> dict[str, str]:
    metadata = resource["metadata"]
    return {
        "apiVersion": resource["apiVersion"],
        "kind": resource["kind"],
        "name": metadata["name"],
        "uid": metadata["uid"],
    }


def _merge(into: Resource, change: Resource) -> None:
    """A JSON merge patch."""
    for key, value in change.items():
        if value is None:
            into.pop(key, None)
        elif isinstance(value, dict):
            _merge(into.setdefault(key, {}), value)  # pyright: ignore[reportUnknownArgumentType]
        else:
            into[key] = value


@asynccontextmanager
async def kubernetes(folder: Path) -> AsyncGenerator[FakeKubernetes]:
    """A server that answers on a port of its own, with a certificate that its own authority has signed."""
    fake = FakeKubernetes(folder)
    certificate = authority_and_server(fake.authority, folder / "server.pem")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", fake.handle)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    fake.url = f"https://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield fake
    finally:
        fake.stopping.set()
        fake.end_watches()
        await fake.mains.close()
        await runner.cleanup()

"""A Dokploy server as far as the provisioner uses it, over real HTTP and stricter than the real one.

Inputs are checked against the server's own schemas (0.30: `apps/dokploy/server/api/routers`, zod schemas in
`packages/server/src/db/schema`), fields that no schema has are refused, and errors look like those of its REST layer.
"""

import asyncio
import itertools
import re
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from .mains import Mains

KEY = "dokploy-key-that-nobody-may-see"
_VARIABLE = re.compile(r"^(\w+)=['`](.*)['`]$", re.MULTILINE)


class Input(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, alias_generator=to_camel)


class ApplicationId(Input):
    application_id: str = Field(min_length=1)


class NewProject(Input):
    name: str = Field(min_length=1)
    description: str = ""
    env: str = ""


class NewEnvironment(Input):
    name: str = Field(min_length=1)
    project_id: str = Field(min_length=1)
    description: str = ""


class EnvironmentId(Input):
    environment_id: str = Field(min_length=1)


class NewApplication(Input):
    name: str = Field(min_length=1)
    environment_id: str
    app_name: str = Field(default="app", min_length=1, max_length=63, pattern=r"^[a-zA-Z0-9._-]+$")
    description: str | None = None
    server_id: str | None = None


class DockerProvider(ApplicationId):
    docker_image: str
    username: str
    password: str
    registry_url: str


class Environment(ApplicationId):
    env: str
    build_args: str
    build_secrets: str
    create_env_file: bool


class HealthCheckSwarm(Input):
    test: list[str] | None = Field(default=None, alias="Test")
    interval: int | None = Field(default=None, alias="Interval")
    timeout: int | None = Field(default=None, alias="Timeout")
    start_period: int | None = Field(default=None, alias="StartPeriod")
    retries: int | None = Field(default=None, alias="Retries")


class RestartPolicySwarm(Input):
    condition: str = Field(alias="Condition")


class NetworkSwarm(Input):
    target: str = Field(alias="Target")


class Update(ApplicationId):
    memory_limit: str | None = Field(default=None, pattern=r"^\d+$")
    memory_reservation: str | None = Field(default=None, pattern=r"^\d+$")
    cpu_limit: str | None = Field(default=None, pattern=r"^\d+$")
    cpu_reservation: str | None = Field(default=None, pattern=r"^\d+$")
    replicas: int | None = None
    auto_deploy: bool | None = None
    args: list[str] | None = None
    restart_policy_swarm: RestartPolicySwarm | None = None
    network_swarm: list[NetworkSwarm] | None = None
    health_check_swarm: HealthCheckSwarm | None = None


class Deploy(ApplicationId):
    title: str | None = None
    description: str | None = None


class NewMount(Input):
    type: str = Field(pattern="^(bind|volume|file)$")
    host_path: str
    mount_path: str = Field(min_length=1)
    service_type: str = Field(pattern="^application$")
    service_id: str = Field(min_length=1)


class AppName(Input):
    app_name: str = Field(min_length=1)
    server_id: str | None = None


class ReadLogs(ApplicationId):
    tail: str = Field(default="100", pattern=r"^\d{1,5}$")
    since: str = Field(default="all", pattern=r"^(all|\d+[smhd])$")


class Nothing(Input):
    pass


class ApiError(Exception):
    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


Handler = Callable[["FakeDokploy", Any], Awaitable[Any]]


class FakeDokploy:
    """Its state, to be looked at and to be meddled with."""

    def __init__(self) -> None:
        self.projects: dict[str, dict[str, Any]] = {}
        self.environments: dict[str, dict[str, Any]] = {}
        self.applications: dict[str, dict[str, Any]] = {}
        self.deployments: dict[str, list[dict[str, Any]]] = {}
        self.tasks: dict[str, list[dict[str, Any]]] = {}
        self.logs: dict[str, list[str]] = {}
        self.asked: Counter[str] = Counter()
        self.faults: dict[str, list[int]] = {}
        """Route -> statuses of its next answers; 0: no answer at all."""
        self.lost_answers: set[str] = set()
        """Routes whose next call is carried out, and its answer lost."""
        self.missing_images = {"no/such:image"}
        self.mains = Mains()
        self.is_away = False
        self.url = ""
        self.stopping = asyncio.Event()
        self._moved = asyncio.Condition()
        self._numbers = itertools.count(1)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        route = request.match_info["route"]
        self.asked[route] += 1
        async with self._moved:
            self._moved.notify_all()
        try:
            return web.json_response(await self._answer(request, route))
        except ApiError as error:
            body = {"message": str(error), "code": error.code}
            return web.json_response(body, status=error.status)

    async def _answer(self, request: web.Request, route: str) -> Any:
        if self.is_away and request.transport is not None:
            request.transport.abort()
        if request.headers.get("x-api-key") != KEY:
            raise ApiError(401, "UNAUTHORIZED", f"Unauthorized: {request.headers.get('x-api-key')}")
        if self.faults.get(route):
            status = self.faults[route].pop(0)
            if not status:
                await self.stopping.wait()
            raise ApiError(status, "INTERNAL_SERVER_ERROR", f"it broke, with {KEY}")
        if route not in ROUTES:
            raise ApiError(404, "NOT_FOUND", "Not found")
        method, model, handler = ROUTES[route]
        if request.method != method:
            raise ApiError(405, "METHOD_NOT_SUPPORTED", "Method not supported")
        given = dict(request.query) if method == "GET" else await request.json()
        try:
            wanted = model.model_validate(given)
        except ValidationError as error:
            raise ApiError(400, "BAD_REQUEST", f"Input validation failed: {error.errors()[0]['loc']}") from None
        result = await handler(self, wanted)
        if route in self.lost_answers:
            self.lost_answers.discard(route)
            if request.transport is not None:
                request.transport.abort()
        return result

    async def is_asked(self, route: str, times: int) -> None:
        """Waits for so many requests more."""
        until = self.asked[route] + times
        async with self._moved:
            await self._moved.wait_for(lambda: self.asked[route] >= until)

    def new_id(self) -> str:
        return f"id{next(self._numbers)}"

    def application(self, identifier: str) -> dict[str, Any]:
        if identifier not in self.applications:
            raise ApiError(404, "NOT_FOUND", "Application not found")
        return self.applications[identifier]

    @property
    def only(self) -> dict[str, Any]:
        """The one application there is."""
        (one,) = self.applications.values()
        return one

    def ends(self, code: int) -> None:
        """The container of the one application ends by itself."""
        error = f"task: non-zero exit ({code})" if code else ""
        state = "Failed 1 second ago" if code else "Complete 1 second ago"
        self.mains.down(self.only["name"])
        self.tasks[self.only["appName"]][0] |= {"state": "shutdown", "currentState": state, "error": error}

    def named(self, name: str) -> dict[str, Any]:
        """The application of this name."""
        return next(one for one in self.applications.values() if one["name"] == name)

    def removes(self, name: str) -> None:
        """Somebody removes an application behind our back."""
        self.remove(self.named(name)["applicationId"])

    def remove(self, identifier: str) -> dict[str, Any]:
        row = self.applications.pop(identifier)
        self.mains.down(row["name"])
        self.tasks.pop(row["appName"], None)
        return row

    def has_started(self, row: dict[str, Any]) -> None:
        self.mains.up(row["name"], dict(_VARIABLE.findall(row["env"])))


async def all_projects(fake: FakeDokploy, _: Nothing) -> Any:
    return [
        {**project, "environments": [one for one in fake.environments.values() if one["projectId"] == identifier]}
        for identifier, project in fake.projects.items()
    ]


async def create_project(fake: FakeDokploy, wanted: NewProject) -> Any:
    project = {"projectId": fake.new_id(), "name": wanted.name}
    fake.projects[project["projectId"]] = project
    environment = {"environmentId": fake.new_id(), "name": "production", "projectId": project["projectId"]}
    fake.environments[environment["environmentId"]] = environment
    return {"project": project, "environment": environment}


async def create_environment(fake: FakeDokploy, wanted: NewEnvironment) -> Any:
    if wanted.project_id not in fake.projects:
        raise ApiError(404, "NOT_FOUND", "Project not found")
    if wanted.name == "production":
        raise ApiError(400, "BAD_REQUEST", "You cannot create a environment with the name 'production'")
    environment = {"environmentId": fake.new_id(), "name": wanted.name, "projectId": wanted.project_id}
    fake.environments[environment["environmentId"]] = environment
    return environment


async def one_environment(fake: FakeDokploy, wanted: EnvironmentId) -> Any:
    if wanted.environment_id not in fake.environments:
        raise ApiError(404, "NOT_FOUND", "Environment not found")
    shown = ("name", "applicationId", "createdAt", "applicationStatus", "description", "serverId")
    mine = [one for one in fake.applications.values() if one["environmentId"] == wanted.environment_id]
    rows = [{name: one[name] for name in shown} for one in mine]
    return {**fake.environments[wanted.environment_id], "applications": rows}


async def create_application(fake: FakeDokploy, wanted: NewApplication) -> Any:
    if wanted.environment_id not in fake.environments:
        raise ApiError(404, "NOT_FOUND", "Environment not found")
    identifier = fake.new_id()
    fake.applications[identifier] = {
        "applicationId": identifier,
        "applicationStatus": "idle",
        "createdAt": "2026-11-21T08:00:00.000Z",
        "mounts": [],
        **wanted.model_dump(by_alias=True),
        "appName": f"{wanted.app_name}-x1y2z3",
    }
    fake.deployments[identifier] = []
    return fake.applications[identifier]


async def one_application(fake: FakeDokploy, wanted: ApplicationId) -> Any:
    return fake.application(wanted.application_id)


async def save(fake: FakeDokploy, wanted: ApplicationId) -> Any:
    fake.application(wanted.application_id).update(wanted.model_dump(exclude_none=True, by_alias=True))
    return True


async def create_mount(fake: FakeDokploy, wanted: NewMount) -> Any:
    fake.application(wanted.service_id)["mounts"].append(wanted.model_dump(by_alias=True))
    return True


async def deploy(fake: FakeDokploy, wanted: Deploy) -> Any:
    row = fake.application(wanted.application_id)
    row["applicationStatus"] = "running"
    fake.deployments[wanted.application_id].insert(0, {"status": "running", "errorMessage": None})


async def all_deployments(fake: FakeDokploy, wanted: ApplicationId) -> Any:
    """A deployment under way is done when it is looked at for the second time."""
    row = fake.application(wanted.application_id)
    found = fake.deployments[wanted.application_id]
    told = [dict(one) for one in found]
    if found and found[0]["status"] == "running":
        found[0]["status"] = row["applicationStatus"] = "done"
        task = {"containerId": "t1", "name": f"{row['appName']}.1", "node": "n", "error": "", "state": "running"}
        task["currentState"] = "Running 1 second ago"
        if row["dockerImage"] in fake.missing_images:
            task |= {"currentState": "Rejected 1 second ago", "error": f"No such image: {row['dockerImage']}"}
        else:
            fake.has_started(row)
        fake.tasks[row["appName"]] = [task]
    return told


async def control(fake: FakeDokploy, identifier: str, *, status: str, state: str) -> Any:
    row = fake.application(identifier)
    row["applicationStatus"] = status
    for task in fake.tasks.get(row["appName"], [])[:1]:
        task |= {"state": state.lower(), "currentState": f"{state} 1 second ago", "error": ""}
    return row


async def stop(fake: FakeDokploy, wanted: ApplicationId) -> Any:
    fake.mains.down(fake.application(wanted.application_id)["name"])
    return await control(fake, wanted.application_id, status="idle", state="Shutdown")


async def start(fake: FakeDokploy, wanted: ApplicationId) -> Any:
    row = await control(fake, wanted.application_id, status="done", state="Running")
    fake.has_started(row)
    return row


async def delete(fake: FakeDokploy, wanted: ApplicationId) -> Any:
    fake.application(wanted.application_id)
    return fake.remove(wanted.application_id)


async def tasks(fake: FakeDokploy, wanted: AppName) -> Any:
    return fake.tasks.get(wanted.app_name, [])


async def read_logs(fake: FakeDokploy, wanted: ReadLogs) -> Any:
    fake.application(wanted.application_id)
    return "\n".join(fake.logs.get(wanted.application_id, [])[-int(wanted.tail) :])


ROUTES: dict[str, tuple[str, type[Input], Any]] = {
    "project.all": ("GET", Nothing, all_projects),
    "project.create": ("POST", NewProject, create_project),
    "environment.create": ("POST", NewEnvironment, create_environment),
    "environment.one": ("GET", EnvironmentId, one_environment),
    "application.create": ("POST", NewApplication, create_application),
    "application.one": ("GET", ApplicationId, one_application),
    "application.saveDockerProvider": ("POST", DockerProvider, save),
    "application.saveEnvironment": ("POST", Environment, save),
    "application.update": ("POST", Update, save),
    "mounts.create": ("POST", NewMount, create_mount),
    "application.deploy": ("POST", Deploy, deploy),
    "application.stop": ("POST", ApplicationId, stop),
    "application.start": ("POST", ApplicationId, start),
    "application.delete": ("POST", ApplicationId, delete),
    "application.readLogs": ("GET", ReadLogs, read_logs),
    "deployment.all": ("GET", ApplicationId, all_deployments),
    "docker.getServiceContainersByAppName": ("GET", AppName, tasks),
}


@asynccontextmanager
async def dokploy() -> AsyncGenerator[FakeDokploy]:
    """A server that answers on a port of its own."""
    fake = FakeDokploy()
    app = web.Application()
    app.router.add_route("*", "/api/{route}", fake.answer)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    fake.url = f"http://{host}:{port}"
    try:
        yield fake
    finally:
        fake.stopping.set()
        await fake.mains.close()
        await runner.cleanup()

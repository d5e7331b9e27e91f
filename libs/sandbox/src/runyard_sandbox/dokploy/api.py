"""The routes of Dokploy's API that are used, each with what it takes and whether it may be sent twice."""

from collections.abc import Mapping
from typing import Any, cast

from runyard_sandbox.dokploy.settings import DokploySettings
from runyard_sandbox.remote import Credential, Remote

Row = dict[str, Any]


class DokployApi:
    """Queries are GET with the input in the query, mutations POST with JSON, all below `/api` with `x-api-key`."""

    def __init__(self, settings: DokploySettings) -> None:
        self._remote = Remote(
            "Dokploy",
            f"{settings.address.rstrip('/')}/api",
            credential=Credential(
                "x-api-key",
                lambda: settings.api_key,
                remedy="DOKPLOY_API_KEY has to be a key of an account that may create projects and applications",
            ),
            patience=settings.patience,
        )

    async def close(self) -> None:
        """Closes all connections."""
        await self._remote.close()

    async def projects(self) -> list[Row]:
        """All that the key sees, with their environments."""
        return cast("list[Row]", await self._remote.call("GET", "project.all") or [])

    async def create_project(self, name: str) -> str:
        """Its id."""
        made = await self._remote.call("POST", "project.create", body={"name": name, "description": "Sandboxes"})
        return str(made["project"]["projectId"])

    async def create_environment(self, name: str, project_id: str) -> str:
        """Its id."""
        made = await self._remote.call("POST", "environment.create", body={"name": name, "projectId": project_id})
        return str(made["environmentId"])

    async def applications(self, environment_id: str) -> list[Row]:
        """Those of an environment: name, applicationId, description, applicationStatus."""
        found = await self._remote.call("GET", "environment.one", params={"environmentId": environment_id})
        return cast("list[Row]", found["applications"])

    async def create_application(self, body: Mapping[str, Any]) -> Row:
        """The new application."""
        return cast("Row", await self._remote.call("POST", "application.create", body=body))

    async def application(self, application_id: str) -> Row:
        """One with everything about it."""
        return cast("Row", await self._remote.call("GET", "application.one", params={"applicationId": application_id}))

    async def save(self, route: str, body: Mapping[str, Any]) -> None:
        """A mutation that sets fields: the second time changes nothing."""
        await self._remote.call("POST", f"application.{route}", body=body, may_repeat=True)

    async def create_mount(self, body: Mapping[str, Any]) -> None:
        """One mount more."""
        await self._remote.call("POST", "mounts.create", body=body)

    async def deploy(self, application_id: str) -> None:
        """Queues a deployment; it is under way when this returns."""
        await self._remote.call("POST", "application.deploy", body={"applicationId": application_id})

    async def control(self, route: str, application_id: str) -> None:
        """`start`, `stop` or `delete`: the second time changes nothing."""
        await self._remote.call("POST", f"application.{route}", body={"applicationId": application_id}, may_repeat=True)

    async def deployments(self, application_id: str) -> list[Row]:
        """Newest first."""
        found = await self._remote.call("GET", "deployment.all", params={"applicationId": application_id})
        return cast("list[Row]", found or [])

    async def tasks(self, app_name: str, server_id: str | None) -> list[Row]:
        """The tasks of the application's swarm service, newest first."""
        params = {"appName": app_name} if server_id is None else {"appName": app_name, "serverId": server_id}
        return cast(
            "list[Row]", await self._remote.call("GET", "docker.getServiceContainersByAppName", params=params) or []
        )

    async def read_logs(self, application_id: str, *, tail: int, since: str) -> str:
        """The last lines of its container's output, each behind its time; `since` is `all` or like `30s`."""
        params = {"applicationId": application_id, "tail": str(tail), "since": since}
        return str(await self._remote.call("GET", "application.readLogs", params=params) or "")

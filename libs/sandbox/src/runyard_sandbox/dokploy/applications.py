"""Which of the server's applications are ours: those in our environment whose description says so."""

from collections.abc import Sequence
from dataclasses import dataclass

from runyard_sandbox.dokploy.api import DokployApi, Row
from runyard_sandbox.dokploy.application import Identity, identity
from runyard_sandbox.dokploy.settings import DokploySettings
from runyard_sandbox.provisioner import NotThere
from runyard_sandbox.remote import Refused


@dataclass(frozen=True, slots=True)
class Ours:
    """An application of this installation, as a listing has it."""

    row: Row
    whose: Identity

    @property
    def id(self) -> str:
        """Dokploy's id of it."""
        return str(self.row["applicationId"])


class Applications:
    """Looks them up anew each time; only the id of their environment is remembered."""

    def __init__(self, api: DokployApi, settings: DokploySettings) -> None:
        self._api = api
        self._settings = settings
        self._environment: str | None = None

    async def all(self) -> Sequence[Ours]:
        """Every one of this installation."""
        environment = self._environment or await self._find_environment()
        if environment is None:
            return []
        try:
            rows = await self._api.applications(environment)
        except Refused as error:
            if not error.is_missing:
                raise
            self._environment = None  # somebody has removed it
            return []
        found = ((row, identity(row.get("description"))) for row in rows)
        return [
            Ours(row, whose)
            for row, whose in found
            if whose is not None and whose.installation == self._settings.installation
        ]

    async def find(self, name: str) -> Ours | None:
        """The one of this name."""
        return next((one for one in await self.all() if one.row["name"] == name), None)

    async def get(self, name: str) -> Ours:
        """The same, where there has to be one.

        Raises:
            NotThere: there is none.
        """
        ours = await self.find(name)
        if ours is None:
            raise NotThere(name)
        return ours

    async def environment(self) -> str:
        """The id of our environment, made with its project where it is not there yet."""
        found = self._environment or await self._find_environment()
        if found is None:
            found = self._environment = await self._make_environment()
        return found

    async def _find_environment(self) -> str | None:
        for project in await self._api.projects():
            if project["name"] == self._settings.project:
                for environment in project["environments"]:
                    if environment["name"] == self._settings.environment:
                        self._environment = str(environment["environmentId"])
        return self._environment

    async def _make_environment(self) -> str:
        projects = {project["name"]: str(project["projectId"]) for project in await self._api.projects()}
        project = projects.get(self._settings.project)
        if project is None:
            project = await self._api.create_project(self._settings.project)
        return await self._api.create_environment(self._settings.environment, project)

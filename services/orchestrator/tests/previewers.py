"""A world in which previews are asked for: what their tests are played in."""

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
from nats.aio.client import Client

from runyard_chassis import Service
from runyard_events import Command, EventLog, Reply, new_id
from runyard_events.catalogue import SandboxLogged, SandboxStats
from runyard_events.commands import ControlPreview, CreatePreview, DetectProject, OpenPreviewTree, RemovePreviewTree
from runyard_orchestrator.preview_app import PROCESSES, Previewing
from runyard_orchestrator.settings import Settings
from runyard_sandbox.process import ProcessProvisioner, ProcessSettings

from .conftest import World, among_neighbours, serving
from .peers import FakeWorkspace

SERVE = 'exec python3 -m http.server "$PORT" --bind "$HOST"'

Kind = TypeVar("Kind")


class PreviewWorkspace(FakeWorkspace):
    """Has one folder for all previews, and says of it what a test wants to be found in it."""

    def __init__(self, client: Client, log: EventLog, folder: Path) -> None:
        super().__init__(client, log)
        self.folder = folder
        self.candidates: list[dict[str, Any]] = []
        self.commit = "c0ffee"

    async def _handle(self, command: Command[Any]) -> None:
        match command.payload:
            case DetectProject():
                result: dict[str, Any] = {"path": str(self.folder), "candidates": self.candidates}
            case OpenPreviewTree(branch=branch):
                result = {"path": str(self.folder), "branch": branch or "main", "commit": self.commit}
            case RemovePreviewTree():
                result = {}
            case _:
                await super()._handle(command)
                return
        await self._bus.reply(command, Reply(ok=True, result=result))


@dataclass
class Previewer:
    """A world in which previews are asked for."""

    world: World
    workspace: PreviewWorkspace
    processes: ProcessProvisioner

    async def create(self, **fields: Any) -> str:
        values: dict[str, Any] = {"preview_id": new_id(), "workspace_id": self.world.workspace_id, **fields}
        asked = CreatePreview.model_validate(values)
        reply = await self.world.ask(asked)
        assert reply.ok, reply.problem
        return asked.preview_id

    async def control(self, preview: str, action: Any) -> Reply:
        return await self.world.ask(ControlPreview(preview_id=preview, action=action))

    def _subject(self, preview: str, family: str) -> str:
        return f"ev.{self.world.tenant}.preview.{preview}.{family}"

    async def _followed(self, preview: str, family: str, kind: type[Kind]) -> AsyncIterator[Kind]:
        async for stored in self.world.log.follow(self._subject(preview, family), from_seq=1):
            if isinstance(stored.event.payload, kind):
                yield stored.event.payload

    async def told(self, preview: str) -> list[Any]:
        return [one.event.payload async for one in self.world.log.replay(self._subject(preview, "lifecycle"))]

    async def logged(self, preview: str) -> list[SandboxLogged]:
        found = [one.event.payload async for one in self.world.log.replay(self._subject(preview, "telemetry"))]
        return [one for one in found if isinstance(one, SandboxLogged)]

    async def types(self, preview: str) -> list[str]:
        return [payload.TYPE.removeprefix("preview.") for payload in await self.told(preview)]

    async def until(self, preview: str, kind: type[Any], count: int = 1) -> Any:
        async with asyncio.timeout(40):
            kinds = self._followed(preview, "lifecycle", kind)
            return [await anext(kinds) for _ in range(count)][-1]

    async def said(self, preview: str, pattern: str) -> SandboxLogged:
        async with asyncio.timeout(20):
            async for logged in self._followed(preview, "telemetry", SandboxLogged):
                if re.search(pattern, "\n".join(logged.lines)):
                    return logged
        raise AssertionError

    async def measured(self, preview: str, *, memory_bytes: int) -> SandboxStats:
        """The first measures with more memory than this: those of the server, and not of the shell that becomes it."""
        async with asyncio.timeout(40):
            async for stats in self._followed(preview, "telemetry", SandboxStats):
                if stats.memory_bytes > memory_bytes:
                    return stats
        raise AssertionError

    async def vanish(self, name: str) -> None:
        """Gone at once, as far as the service can see: a deletion would show it as ended for a moment."""
        root = self.world.settings.agents_root
        elsewhere = root / "elsewhere"
        elsewhere.mkdir()
        (root / PROCESSES / name).rename(elsewhere / name)
        away = ProcessProvisioner(ProcessSettings(folder=elsewhere))
        await away.delete(name)
        await away.close()

    async def gone(self, name: str) -> None:
        async with asyncio.timeout(20):
            while await self.processes.find(name) is not None:  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.05)


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    return settings.model_copy(update={"agents_root": tmp_path / "agents", "reconcile_seconds": 0.5})


@asynccontextmanager
async def previewing(settings: Settings, client: Client, tenant: str, folder: Path) -> AsyncGenerator[Previewer]:
    """Everything but the service; the project is in a folder below this one."""
    project = folder / "project"
    project.mkdir(parents=True)
    (project / "index.html").write_text("<p>hello</p>")
    log = EventLog(client)
    workspace = PreviewWorkspace(client, log, project)
    processes = ProcessProvisioner(ProcessSettings(folder=settings.agents_root / PROCESSES))
    async with among_neighbours(settings, client, log, tenant, workspace) as world:
        yield Previewer(world, workspace, processes)
        for one in await processes.list():
            await processes.delete(one.name)
        await processes.close()


@pytest.fixture
async def around(settings: Settings, nats_client: Client, tenant: str, tmp_path: Path) -> AsyncIterator[Previewer]:
    """Everything but the service."""
    async with previewing(settings, nats_client, tenant, tmp_path) as made:
        yield made


@pytest.fixture
async def previewer(around: Previewer) -> AsyncIterator[Previewer]:
    """The service and its neighbours, running."""
    async with serving(around.world.settings):
        yield around


async def page_at(address: str) -> str:
    async with httpx.AsyncClient(trust_env=False) as client:
        return (await client.get(f"http://{address}/")).text


async def looked_twice(service: Service) -> None:
    """Two looks at everything have been taken."""
    previewing: Previewing = service.app.state.previews
    for _ in range(2):
        await previewing.keeper.once()

"""Previews on Kubernetes, whose pages are at their pods, and on Dokploy, which has no way to them."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from nats.aio.client import Client

from runyard_events import CommandBus, EventLog, new_id
from runyard_events.catalogue import PreviewFailed, PreviewReady, PreviewStarting, SandboxRules
from runyard_events.commands import ControlPreview, SetSandboxRules
from runyard_orchestrator.preview_app import PROCESSES
from runyard_orchestrator.settings import Settings
from runyard_sandbox.process import ProcessProvisioner, ProcessSettings

from .conftest import World, serving
from .peers import FakeRunner
from .platforms import OnKubernetes, Platform, settings_on, standing
from .test_previews import SERVE, Previewer, PreviewWorkspace
from .yards import until


@asynccontextmanager
async def previewing(
    method: str, settings: Settings, client: Client, tenant: str, folder: Path
) -> AsyncGenerator[tuple[Previewer, Platform]]:
    """The service with this method, running."""
    shared = folder / "shared"
    project = shared / "project"
    project.mkdir(parents=True)
    (project / "index.html").write_text("<p>hello</p>")
    log = EventLog(client)
    workspace, workspace_id = PreviewWorkspace(client, log, project), new_id()
    await workspace.imported(tenant, workspace_id)
    async with AsyncExitStack() as stack:
        platform = await stack.enter_async_context(standing(method, folder))
        chosen = settings_on(platform, settings, shared)
        await stack.enter_async_context(workspace.queue.running())
        processes = ProcessProvisioner(ProcessSettings(folder=chosen.agents_root / PROCESSES))
        stack.push_async_callback(processes.close)
        runner = FakeRunner(client, log)
        world = World(chosen, log, CommandBus(client), workspace, runner, tenant, workspace_id)
        await stack.enter_async_context(serving(chosen))
        yield Previewer(world, workspace, processes), platform


async def test_on_kubernetes_a_page_is_at_its_pod(
    settings: Settings, nats_client: Client, tenant: str, tmp_path: Path
) -> None:
    async def main(_: str, env: Mapping[str, str]) -> None:
        server = await asyncio.start_server(_page, "127.0.0.1", int(env["PORT"]))
        async with server:
            await server.serve_forever()

    async with previewing("kubernetes", settings, nats_client, tenant, tmp_path) as (previewer, platform):
        assert isinstance(platform, OnKubernetes)
        platform.mains.main, platform.fake.pod_address = main, "127.0.0.1"
        preview = await previewer.create(command=SERVE)
        starting = await previewer.until(preview, PreviewStarting)
        ready = await previewer.until(preview, PreviewReady)
        assert (starting.method, ready.address) == ("kubernetes", f"127.0.0.1:{starting.port}")
        ((name, env),) = platform.mains.begun
        assert platform.names == {name}
        assert env["HTTPS_PROXY"].startswith("http://preview:")
        assert (await previewer.world.ask(ControlPreview(preview_id=preview, action="delete"))).ok
        await until(platform.is_clean)


async def _page(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    writer.close()


async def test_on_dokploy_it_is_said_that_there_are_none_and_a_process_will_do_where_the_team_allows_it(
    settings: Settings, nats_client: Client, tenant: str, tmp_path: Path
) -> None:
    async with previewing("dokploy", settings, nats_client, tenant, tmp_path) as (previewer, platform):
        failed = await previewer.until(await previewer.create(command=SERVE), PreviewFailed)
        assert failed.reason == "create_failed"
        assert "no way from the platform to a port" in failed.message
        assert platform.is_clean()

        rules = SandboxRules(process_fallback=True)
        assert (await previewer.world.ask(SetSandboxRules(rules=rules))).ok
        preview = await previewer.create(command=SERVE)
        starting = await previewer.until(preview, PreviewStarting, count=2)
        assert starting.method == "process"
        await previewer.until(preview, PreviewReady)

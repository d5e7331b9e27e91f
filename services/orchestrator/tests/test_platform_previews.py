"""Previews on Kubernetes, whose pages are at their pods, and on Dokploy, which has no way to them."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from nats.aio.client import Client

from runyard_events.catalogue import PreviewFailed, PreviewReady, PreviewStarting, SandboxRules
from runyard_events.commands import ControlPreview, SetSandboxRules
from runyard_orchestrator.settings import Settings

from .conftest import serving
from .platforms import OnKubernetes, Platform, settings_on, standing
from .previewers import SERVE, Previewer, previewing
from .yards import until


@asynccontextmanager
async def previewing_on(
    method: str, settings: Settings, client: Client, tenant: str, folder: Path
) -> AsyncGenerator[tuple[Previewer, Platform]]:
    """The service with this method, running."""
    shared = folder / "shared"
    async with standing(method, folder) as platform:
        chosen = settings_on(platform, settings, shared)
        async with previewing(chosen, client, tenant, shared) as previewer, serving(chosen):
            yield previewer, platform


async def test_on_kubernetes_a_page_is_at_its_pod(
    settings: Settings, nats_client: Client, tenant: str, tmp_path: Path
) -> None:
    async with previewing_on("kubernetes", settings, nats_client, tenant, tmp_path) as (previewer, platform):
        assert isinstance(platform, OnKubernetes)
        platform.mains.main, platform.fake.pod_address = _serve, "127.0.0.1"
        preview = await previewer.create(command=SERVE)
        starting = await previewer.until(preview, PreviewStarting)
        ready = await previewer.until(preview, PreviewReady)
        assert (starting.method, ready.address) == ("kubernetes", f"127.0.0.1:{starting.port}")
        ((name, env),) = platform.mains.begun
        assert platform.names == {name}
        assert env["HTTPS_PROXY"].startswith("http://preview:")
        assert (await previewer.world.ask(ControlPreview(preview_id=preview, action="delete"))).ok
        await until(platform.is_clean)


async def test_on_kubernetes_a_page_whose_pod_was_made_anew_is_not_looked_for_where_it_was(
    settings: Settings, nats_client: Client, tenant: str, tmp_path: Path
) -> None:
    """The address of the former pod may be anybody's by now."""
    async with previewing_on("kubernetes", settings, nats_client, tenant, tmp_path) as (previewer, platform):
        assert isinstance(platform, OnKubernetes)
        platform.mains.main, platform.fake.pod_address = _serve, "127.0.0.1"
        preview = await previewer.create(command=SERVE)
        await previewer.until(preview, PreviewReady)
        platform.fake.pod_address = "127.0.0.2"
        for pod in platform.fake.resources["Pod"].values():
            pod["status"]["podIP"] = platform.fake.pod_address
        assert (await previewer.until(preview, PreviewFailed)).reason == "vanished"
        ready = await previewer.until(preview, PreviewReady, count=2)
        assert (ready.generation, ready.address.partition(":")[0]) == (2, "127.0.0.2")
        assert (await previewer.world.ask(ControlPreview(preview_id=preview, action="delete"))).ok
        await until(platform.is_clean)


async def _serve(_: str, env: Mapping[str, str]) -> None:
    """What runs in the pod, at each of its addresses."""
    async with await asyncio.start_server(_page, "0.0.0.0", int(env["PORT"])) as server:  # noqa: S104 - a pod has several
        await server.serve_forever()


async def _page(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    writer.close()


async def test_on_dokploy_it_is_said_that_there_are_none_and_a_process_will_do_where_the_team_allows_it(
    settings: Settings, nats_client: Client, tenant: str, tmp_path: Path
) -> None:
    async with previewing_on("dokploy", settings, nats_client, tenant, tmp_path) as (previewer, platform):
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

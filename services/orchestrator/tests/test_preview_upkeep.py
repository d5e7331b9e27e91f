"""What becomes of previews when the service ends and begins, and what it does for them while it runs."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from runyard_chassis import Database
from runyard_events import new_id
from runyard_events.catalogue import PreviewFailed, PreviewPrepared, PreviewReady, PreviewStarting, PreviewStopped
from runyard_orchestrator.store.previews import PreviewRows
from runyard_orchestrator.store.tables import SCHEMA
from runyard_sandbox.provisioner import PREVIEW_LIMITS, Spec

from .conftest import serving
from .previewers import SERVE, Previewer, around, looked_twice, page_at, previewer, settings

__all__ = ["around", "previewer", "settings"]


async def test_previews_go_down_with_the_service_and_come_back_with_it(around: Previewer) -> None:
    async with serving(around.world.settings):
        preview = await around.create(command=SERVE)
        await around.until(preview, PreviewReady)
    assert (await around.until(preview, PreviewStopped)).reason == "shutdown"
    assert await around.processes.list() == []
    async with serving(around.world.settings):
        assert (await around.until(preview, PreviewReady, 2)).generation == 2


async def test_a_restarted_service_finds_its_previews_and_starts_none_twice(around: Previewer) -> None:
    around.world.settings = around.world.settings.model_copy(update={"preview_outlive": True})
    async with serving(around.world.settings):
        preview = await around.create(command=SERVE)
        ready = await around.until(preview, PreviewReady)
        before = await around.processes.find(f"runyard-preview-{preview}-1")
    async with serving(around.world.settings) as service:
        await looked_twice(service)
        assert await around.types(preview) == ["requested", "prepared", "starting", "ready"]
        after = await around.processes.find(f"runyard-preview-{preview}-1")
        assert before is not None
        assert after is not None
        assert before.native_id == after.native_id
        assert await page_at(ready.address) == "<p>hello</p>"


async def test_what_belongs_to_no_preview_is_removed(around: Previewer) -> None:
    name = f"runyard-preview-{new_id()}-1"
    spec = Spec(
        name=name,
        purpose="preview",
        tenant_id=around.world.tenant,
        owner_id=new_id(),
        epoch=1,
        image=None,
        command=("sleep", "600"),
        limits=PREVIEW_LIMITS,
    )
    await around.processes.provision(spec)
    async with serving(around.world.settings):
        await around.gone(name)


async def test_previews_that_are_over_cost_the_engines_nothing(
    around: Previewer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(around.world.settings) as service:
        over = [await around.create(framework="none"), await around.create(command=SERVE)]
        await around.until(over[0], PreviewFailed)
        await around.until(over[1], PreviewReady)
        await around.control(over[1], "delete")
        await around.gone(f"runyard-preview-{over[1]}-1")
        keeper, asked = service.app.state.previews.keeper, list[Sequence[str]]()
        await looked_twice(service)
        original = keeper.boxes.named

        async def named(names: Sequence[str]) -> Any:
            asked.append(names)
            return await original(names)

        monkeypatch.setattr(keeper.boxes, "named", named)
        async with asyncio.timeout(30):
            while True:  # the deleted one may be looked at once more: its process has just ended
                asked.clear()
                await looked_twice(service)
                if not asked:
                    break
        for _ in range(3):
            await looked_twice(service)
        assert not asked


async def test_previews_in_use_come_before_those_that_are_over(around: Previewer) -> None:
    async with serving(around.world.settings):
        await around.until(await around.create(framework="none"), PreviewFailed)
        used = await around.create(command=SERVE)
        await around.until(used, PreviewReady)
        database = Database(around.world.settings.database_url, SCHEMA)
        found = await PreviewRows(database).to_be_looked_after(1, datetime.now(UTC) - timedelta(days=1))
        await database.close()
    assert [key.preview_id for key in found] == [used]


async def test_a_preview_that_vanishes_is_reported_and_brought_back(previewer: Previewer) -> None:
    preview = await previewer.create(command=SERVE)
    await previewer.until(preview, PreviewReady)
    await previewer.vanish(f"runyard-preview-{preview}-1")
    assert (await previewer.until(preview, PreviewFailed)).reason == "vanished"
    assert (await previewer.until(preview, PreviewReady, 2)).generation == 2


async def test_a_server_that_ends_later_has_failed(previewer: Previewer) -> None:
    preview = await previewer.create(command=SERVE)
    await previewer.until(preview, PreviewReady)
    port = (await previewer.until(preview, PreviewStarting)).port
    await previewer.processes.exec(f"runyard-preview-{preview}-1", ("pkill", "-f", f"http.server {port}"))
    failed = await previewer.until(preview, PreviewFailed)
    assert failed.reason == "exited"


async def test_a_page_that_answers_no_more_is_asked_three_times_before_it_has_failed(
    around: Previewer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runyard_orchestrator.handlers.previews._RETRY_SECONDS", 0.2)
    hasty = {"preview_health_seconds": 0.2, "preview_health_timeout_seconds": 0.3}
    async with serving(around.world.settings.model_copy(update=hasty)) as service:
        keeper, answers = service.app.state.previews.keeper, list[str | None]()
        original = keeper.pages.answering

        async def answering(address: str, port: int) -> str | None:
            answers.append(await original(address, port))
            return answers[-1]

        preview = await around.create(command=SERVE)
        await around.until(preview, PreviewReady)
        monkeypatch.setattr(keeper.pages, "answering", answering)
        # The process is there, and its port takes connections: only the page does not come.
        await around.processes.pause(f"runyard-preview-{preview}-1")
        failed = await around.until(preview, PreviewFailed)
        await around.gone(f"runyard-preview-{preview}-1")
    assert (failed.reason, failed.message) == ("unhealthy", "Its page does not answer any more.")
    assert answers[-3:] == [None] * 3
    assert None not in answers[:-3]


async def test_a_preview_follows_its_branch(around: Previewer) -> None:
    around.world.settings = around.world.settings.model_copy(update={"preview_health_seconds": 0.3})
    async with serving(around.world.settings):
        preview = await around.create(command=SERVE, branch="feature")
        await around.until(preview, PreviewReady)
        around.workspace.commit = "decaf"
        second = await around.until(preview, PreviewReady, 2)
        assert second.generation == 2
        prepared = [one for one in await around.told(preview) if isinstance(one, PreviewPrepared)]
        assert [one.commit for one in prepared] == ["c0ffee", "decaf"]

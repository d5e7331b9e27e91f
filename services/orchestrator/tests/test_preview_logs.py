"""What a preview prints is told once, and goes on being told when the engine broke off in the middle."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from runyard_events import Redactor, new_id
from runyard_orchestrator.adapters.preview_boxes import PreviewBoxes
from runyard_orchestrator.adapters.way_out import WayOut
from runyard_orchestrator.domain.preview import Preview
from runyard_orchestrator.handlers.preview_logs import PreviewLogs
from runyard_orchestrator.store.previews import PreviewKey
from runyard_sandbox import EngineAway, LogLine

from .conftest import serving
from .engine import MemoryEngine
from .previewers import Previewer, around, settings
from .yards import until

__all__ = ["around", "settings"]


async def test_lines_are_told_once_and_go_on_when_the_engine_broke_off(
    around: Previewer, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, asked = MemoryEngine(), list[str]()
    original = engine.logs

    async def fragile(name: str, **more: Any) -> AsyncIterator[LogLine]:
        if more.get("follow"):
            asked.append(name)
        async for line in original(name, **more):
            yield line
            if len(asked) == 1 and line.text == "two":
                raise EngineAway("it is started anew")

    monkeypatch.setattr(engine, "logs", fragile)
    async with serving(around.world.settings.model_copy(update={"sandbox": "docker"}), engine):
        preview = await around.create(command="true")
        name = f"runyard-preview-{preview}-1"
        await until(lambda: name in engine.held)
        engine.print(name, "one", "two")
        await until(lambda: len(asked) == 2)
        await asyncio.sleep(0.1)  # until it is followed again indeed
        engine.print(name, "three")
        await around.said(preview, "three")
        assert [line for one in await around.logged(preview) for line in one.lines] == ["one", "two", "three"]


async def test_what_each_of_several_builds_prints_is_told(around: Previewer) -> None:
    async def lines(build: str) -> AsyncIterator[str]:
        yield build

    key = PreviewKey(around.world.tenant, new_id())
    logs = PreviewLogs(around.world.log, PreviewBoxes({}, {}, WayOut("")), Redactor())
    for build in ("one", "two"):
        await logs.build(key, Preview(status="starting", generation=1), lines(build))
    assert [one.lines for one in await around.logged(key.preview_id)] == [("one",), ("two",)]

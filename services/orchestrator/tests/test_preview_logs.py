"""What a preview prints is told once, and goes on being told when the engine broke off in the middle."""

import asyncio
from collections.abc import AsyncIterator

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


class FragileEngine(MemoryEngine):
    """Breaks off behind the line `two` when its lines are followed for the first time."""

    followed = 0

    async def logs(self, name: str, *, follow: bool = False, tail: int = 200) -> AsyncIterator[LogLine]:
        held, is_first = self.held[name], not self.followed
        shown = max(0, len(held.lines) - tail)
        self.followed += follow
        while True:
            for line in held.lines[shown:]:
                shown += 1
                yield line
                if is_first and line.text == "two":
                    raise EngineAway("it is started anew")
            if not follow:
                return
            await asyncio.sleep(0.02)


async def test_lines_are_told_once_and_go_on_when_the_engine_broke_off(around: Previewer) -> None:
    engine = FragileEngine()
    async with serving(around.world.settings.model_copy(update={"sandbox": "docker"}), engine):
        preview = await around.create(command="true")
        name = f"runyard-preview-{preview}-1"
        await until(lambda: name in engine.held)
        engine.print(name, "one", "two")
        await until(lambda: engine.followed == 2)
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

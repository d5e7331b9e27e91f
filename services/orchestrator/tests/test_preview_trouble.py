"""Previews while the engine and the log are away at the same time."""

from typing import Any

import pytest
from structlog.testing import capture_logs

from runyard_events import LogUnavailable
from runyard_events.catalogue import PreviewFailed
from runyard_orchestrator.handlers import previews

from .conftest import serving
from .engine import MemoryEngine
from .previewers import Previewer, around, settings
from .yards import until

__all__ = ["around", "settings"]


async def test_what_cannot_be_said_of_an_engine_that_is_away_is_logged_and_said_later(
    around: Previewer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(previews, "_ENGINE_SECONDS", 0.1)
    engine = MemoryEngine(is_away=True)
    more = {"sandbox": "docker", "reconcile_seconds": 0.2}
    async with serving(around.world.settings.model_copy(update=more), engine) as service:
        desk = service.app.state.previews.desk
        decide, refused = desk.decide, list[str]()

        async def unreliable(key: Any, decision: Any, cause: Any) -> Any:
            seen = await desk.preview(key)
            if seen.status == "starting" and not refused:
                refused.append(key.preview_id)
                raise LogUnavailable("the log is away")
            return await decide(key, decision, cause)

        monkeypatch.setattr(desk, "decide", unreliable)
        with capture_logs() as said:
            preview = await around.create(command="true")
            await until(lambda: refused == [preview])
            assert (await around.until(preview, PreviewFailed)).reason == "engine_away"
        postponed = [one for one in said if one["event"] == "preview.postponed"]
        assert [one["error"] for one in postponed] == ["the log is away"]

"""Where previews may run, and what becomes of those that may not run where they did."""

import pytest

from runyard_events.catalogue import PreviewFailed, PreviewReady
from runyard_orchestrator.adapters.preview_boxes import PreviewBoxes
from runyard_orchestrator.adapters.way_out import WayOut
from runyard_orchestrator.domain.preview import Preview
from runyard_orchestrator.store.previews import PreviewKey
from runyard_sandbox import ProvisionFailed

from .conftest import serving
from .previewers import SERVE, Previewer, around, settings

__all__ = ["around", "settings"]


async def test_without_containers_and_where_no_process_may_be_one_a_preview_fails_and_says_why(
    around: Previewer,
) -> None:
    async with serving(around.world.settings):
        preview = await around.create(command=SERVE)
        await around.until(preview, PreviewReady)
    around.world.settings = around.world.settings.model_copy(update={"preview_processes": False})
    async with serving(around.world.settings):
        former = await around.until(preview, PreviewFailed)
        another = await around.create(command=SERVE)
        fresh = await around.until(another, PreviewFailed)
    assert await around.types(another) == ["requested", "failed"]
    assert former.reason == fresh.reason == "create_failed"
    assert "containers only" in fresh.message
    assert await around.processes.list() == []


async def test_a_method_that_is_not_to_be_had_any_more_is_an_end_and_not_tried_for_ever() -> None:
    starting = Preview(status="starting", method="docker", generation=1, port=5000, container_name="a-page")
    with pytest.raises(ProvisionFailed, match="docker"):
        await PreviewBoxes({}, {}, WayOut("")).provision(PreviewKey("team", "preview"), starting)

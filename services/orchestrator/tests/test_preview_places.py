"""Where previews may run, and what becomes of those that may not run where they did."""

import pytest

from runyard_events.catalogue import Method, PreviewFailed, PreviewPrepared, PreviewReady, PreviewStarting, SandboxRules
from runyard_events.commands import SetSandboxRules
from runyard_orchestrator.adapters.preview_boxes import PreviewBoxes
from runyard_orchestrator.adapters.preview_images import PreviewImages
from runyard_orchestrator.adapters.way_out import WayOut
from runyard_orchestrator.domain.preview import Preview
from runyard_orchestrator.store.previews import PreviewKey
from runyard_sandbox import ProvisionFailed

from .conftest import serving
from .engine import MemoryEngine
from .previewers import SERVE, Previewer, around, settings
from .yards import until

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


async def test_a_preview_has_the_runtime_of_its_team(around: Previewer) -> None:
    engine = MemoryEngine()
    in_docker = around.world.settings.model_copy(update={"sandbox": "docker"})
    async with serving(in_docker, engine):
        first = await around.create(command=SERVE)
        assert (await around.until(first, PreviewStarting)).method == "docker"
        assert (await around.world.ask(SetSandboxRules(rules=SandboxRules(runtime="runsc")))).ok
        second = await around.create(command=SERVE)
        await around.until(second, PreviewStarting)
        await until(lambda: len(engine.specs) == 2)
    assert {one.owner_id: one.runtime for one in engine.specs} == {first: None, second: "runsc"}


async def test_nothing_is_built_by_the_engine_s_own_runtime_for_a_team_that_has_another(
    around: Previewer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def can_build(_images: PreviewImages, _method: Method) -> bool:
        return True

    monkeypatch.setattr(PreviewImages, "can_build", can_build)
    image = {"framework": "dockerfile", "name": "Dockerfile", "install": None, "serve": "", "folder": ""}
    around.workspace.candidates = [image]
    in_docker = around.world.settings.model_copy(update={"sandbox": "docker"})
    async with serving(in_docker, MemoryEngine()):
        assert (await around.until(await around.create(), PreviewPrepared)).framework == "dockerfile"
        assert (await around.world.ask(SetSandboxRules(rules=SandboxRules(runtime="runsc")))).ok
        failed = await around.until(await around.create(), PreviewFailed)
    assert failed.reason == "not_detected"
    assert "images are not built here" in failed.message

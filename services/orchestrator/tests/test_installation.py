"""Which image a session's container is of."""

import pytest

from runyard_orchestrator.sandbox_app import installation_of
from runyard_orchestrator.settings import Settings


@pytest.mark.parametrize(
    ("runner_type", "image"),
    [
        ("codex", "house/runner-codex:7"),
        ("claude", "house/runner-claude:7"),
        ("opencode", "house/runner-acp:7"),
        ("droid", "house/own-droid:1"),
        ("external", None),
    ],
)
def test_an_image_is_the_runners_that_drives_the_agent_unless_one_is_named(runner_type: str, image: str | None) -> None:
    settings = Settings(sandbox_image="house/runner-{runner}:7", sandbox_images={"droid": "house/own-droid:1"})
    assert installation_of(settings).image(runner_type) == image

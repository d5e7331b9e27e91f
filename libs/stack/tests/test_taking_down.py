"""`runyard down` where no stack runs: what a killed one has left is removed, what is somebody else's is not."""

from collections.abc import Mapping

import pytest

from runyard_sandbox import EngineAway, SandboxFault, docker
from runyard_sandbox.docker.engine import Refused
from runyard_stack.accounts import NATS_USERS
from runyard_stack.cli import lifecycle
from runyard_stack.credentials import load_credentials
from runyard_stack.layout import Layout
from runyard_stack.taking_down import leave_no_sandboxes


@pytest.fixture
def removed(monkeypatch: pytest.MonkeyPatch, free_layout: Layout) -> list[str]:
    """The installations whose things were removed from the engine; the command is about this layout."""
    found: list[str] = []

    async def leave(installation: str, environment: Mapping[str, str]) -> tuple[int, str]:
        assert environment
        found.append(installation)
        return 1, ""

    monkeypatch.setattr(lifecycle, "leave_no_sandboxes", leave)
    monkeypatch.setattr(lifecycle, "layout_from_environment", lambda: free_layout)
    return found


def test_what_a_killed_stack_has_left_is_removed_and_the_next_start_is_told(
    free_layout: Layout, removed: list[str]
) -> None:
    free_layout.create()
    credentials = load_credentials(free_layout.credentials, NATS_USERS)
    lifecycle.down()
    assert removed == [credentials.installation]
    assert free_layout.taken_down.exists()


def test_a_composed_stack_on_the_same_folder_keeps_its_containers(
    free_layout: Layout, removed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ready(_port: int) -> tuple[bool, str]:
        return True, "ready"

    free_layout.create()
    load_credentials(free_layout.credentials, NATS_USERS)
    monkeypatch.setattr(lifecycle, "ask_ready", ready)
    lifecycle.down()
    assert removed == []
    assert not free_layout.taken_down.exists()


def test_where_there_has_never_been_a_stack_nothing_is_made(free_layout: Layout, removed: list[str]) -> None:
    lifecycle.down()
    assert removed == []
    assert not free_layout.agents.exists()


@pytest.mark.parametrize("fault", [EngineAway("no engine"), Refused(500, "its disk is broken")])
async def test_an_engine_that_cannot_be_asked_is_told_with_what_shows_the_containers(
    fault: SandboxFault, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object, **__: object) -> int:
        raise fault

    monkeypatch.setattr(docker, "clear_engine", away)
    removed, problem = await leave_no_sandboxes("abc", {})
    assert removed == 0
    assert "docker ps --filter label=runyard.installation=abc" in problem

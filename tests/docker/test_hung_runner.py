"""A runner that stands still in a container that looks well."""

import json
import subprocess
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from .conftest import docker

if TYPE_CHECKING:
    from tests.conftest import Api, Stack
    from tests.docker.conftest import Engine

pytestmark = [pytest.mark.docker, pytest.mark.agents, pytest.mark.timeout(240)]
STAND_STILL = """
import os, signal
from pathlib import Path

def is_runner(folder: Path) -> bool:
    words = (folder / "cmdline").read_bytes().split(b"\\0")
    return words[0].endswith(b"python") and b"runyard_runner_codex" in words

(pid,) = [int(one.name) for one in Path("/proc").iterdir() if one.name.isdigit() and is_runner(one)]
os.kill(pid, signal.SIGSTOP)
print(pid)
"""


@pytest.fixture(scope="module")
def settings() -> dict[str, str]:
    return {"SANDBOX_HEALTH_SECONDS": "1", "RECONCILE_SECONDS": "1"}


async def test_a_runner_that_stands_still_is_replaced_and_its_run_goes_on_once(
    stack: "Stack", api: "Api", engine: "Engine", repository: Path, sandbox_events: Callable[..., Any]
) -> None:
    session = await api.session(await api.import_repository(repository), "codex")
    run = await api.prompt(session, "[[script: tokens 200 delay 40]]")
    await api.until(run, "ui.message.assistant.delta")
    first = engine.of(session)

    engine.python(session, STAND_STILL)
    events = await api.events(run)

    assert [one.type for one in events if one.type in {"run.completed", "run.error", "run.cancelled"}] == [
        "run.completed"
    ]
    assert len([one for one in events if one.type == "run.resumed"]) == 1
    assert engine.of(session) == f"runyard-{session[:8]}-2"
    assert first not in engine.containers()
    told = await sandbox_events(stack, session)
    assert [one["type"].removeprefix("sandbox.") for one in told] == [
        *("requested", "creating", "running", "error"),
        *("requested", "creating", "running"),
    ]
    error = told[3]["payload"]
    assert (error["epoch"], error["reason"]) == (1, "unhealthy")
    assert "does not move any more" in error["message"]
    # Whatever either of them said is there once and in order.
    said: dict[str, list[int]] = defaultdict(list)
    for one in events:
        said[one.event["source"]].append(one.event["seq"])
    assert all(numbers == list(range(1, len(numbers) + 1)) for numbers in said.values())


async def test_a_runner_at_work_in_a_container_at_its_limits_counts_as_well(
    api: "Api", engine: "Engine", repository: Path
) -> None:
    session = await api.session(await api.import_repository(repository), "codex")
    events = await api.events(await api.prompt(session, "[[script: tokens 5]]"))
    assert events[-1].type == "run.completed"
    name = engine.of(session)
    # All of its processor, and all of the folder that the pulse is in.
    engine.inside(session, "sh", "-c", "for i in 1 2 3 4; do (while :; do :; done) & done")
    engine.inside(session, "sh", "-c", "dd if=/dev/zero of=/tmp/full bs=1M; true")
    before = health(name)["Log"][-1]["End"]
    log = until(name, lambda entries: entries[-1]["End"] > before and len(entries) >= 5)
    assert {one["ExitCode"] for one in log[-3:]} == {0}
    assert health(name)["Status"] == "healthy"


def health(name: str) -> dict[str, Any]:
    return json.loads(docker("inspect", name, "--format", "{{json .State.Health}}"))


def until(name: str, holds: Callable[[list[dict[str, Any]]], bool]) -> list[dict[str, Any]]:
    """The engine's own words about its last looks, when this holds of them."""
    with subprocess.Popen(
        ["docker", "events", "--filter", f"container={name}", "--filter", "event=exec_die"],
        stdout=subprocess.PIPE,
        text=True,
    ) as events:
        assert events.stdout is not None
        try:
            for _ in events.stdout:
                if holds(found := health(name)["Log"]):
                    return found
        finally:
            events.terminate()
    raise AssertionError(name)

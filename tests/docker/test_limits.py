"""What becomes of a run whose container is killed or has no more memory, or whose worktree is on a full disk."""

import asyncio
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.docker.conftest import docker
from tests.docker.remains import assert_nothing_is_left
from tests.runs import ends

from runyard_runner.testbench import script

if TYPE_CHECKING:
    from tests.conftest import Api, Stack
    from tests.docker.conftest import Engine

pytestmark = [pytest.mark.docker, pytest.mark.agents, pytest.mark.timeout(240)]
DISK_MIB = 48


@pytest.fixture(scope="module")
def settings() -> dict[str, str]:
    return {"SANDBOX_MEMORY_MB": "560", "RECONCILE_SECONDS": "1", "IMPORT_SPARE_MIB": "1", "SANDBOX_RESTARTS": "1"}


@pytest.fixture(scope="module")
def small_disk(data_folder: Path) -> Iterator[Path]:
    """Worktrees on a file system of their own that is soon full."""
    workspaces = data_folder / "workspaces"
    workspaces.mkdir(mode=0o700)
    if os.geteuid():
        pytest.skip("only root can mount a small disk")
    size = f"size={DISK_MIB}m,mode=0700"
    subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(workspaces)], check=True)
    yield workspaces
    subprocess.run(["umount", "--lazy", str(workspaces)], check=True)


@pytest.fixture(scope="module")
def stack(
    small_disk: Path,
    data_folder: Path,
    new_stack: Callable[..., "Stack"],
    images: str,
    settings: dict[str, str],
    clear: Callable[["Stack"], None],
) -> Iterator["Stack"]:
    one = new_stack(data_folder, SANDBOX="docker", SANDBOX_IMAGE=f"runyard/runner-{{runner}}:{images}", **settings)
    one.up()
    yield one
    one.down()
    clear(one)


@pytest.mark.parametrize("agent", ["codex", "claude"])
async def test_a_container_that_is_killed_in_mid_run_is_replaced_and_the_run_goes_on(
    stack: "Stack", api: "Api", engine: "Engine", repository: Path, agent: str, sandbox_events: Callable[..., Any]
) -> None:
    session = await api.session(await api.import_repository(repository), agent)
    run = await api.prompt(session, "[[script: tokens 150 delay 40]]")
    await api.until(run, "ui.message.assistant.delta")

    await asyncio.to_thread(docker, "kill", "--signal", "KILL", engine.of(session))
    events = await api.events(run)

    assert ends(events) == ["run.completed"]
    assert [one for one in events if one.type == "run.resumed"]
    told = await sandbox_events(stack, session)
    errors = [one["payload"] for one in told if one["type"] == "sandbox.error"]
    assert [(one["reason"], one.get("exitCode")) for one in errors] == [("exited", 137)], errors
    assert errors[0]["message"] == "The container ended with code 137."
    await assert_nothing_is_left(stack, api, engine, session)


@pytest.mark.parametrize("agent", ["codex", "claude"])
async def test_a_command_that_takes_too_much_memory_is_ended_and_the_run_goes_on(
    api: "Api", stack: "Stack", engine: "Engine", repository: Path, agent: str
) -> None:
    session = await api.session(await api.import_repository(repository), agent)
    hog = "python3 -c 'x = [bytearray(1 << 20) for _ in range(2048)]; print(len(x))'; echo exit $?"
    run = await api.prompt(session, script({"run": hog}, {"say": "done"}))

    events = await api.events(run)

    assert ends(events) == ["run.completed"]
    outputs = "".join(str(one.payload["output"]) for one in events if one.type == "ui.tool.result")
    assert "exit 137" in outputs
    assert engine.of(session).endswith("-1"), "the same container went on"
    await assert_nothing_is_left(stack, api, engine, session)


async def test_a_container_that_is_out_of_memory_is_told_and_the_run_ends_once(
    api: "Api", stack: "Stack", engine: "Engine", repository: Path, sandbox_events: Callable[..., Any]
) -> None:
    session = await api.session(await api.import_repository(repository), "codex")
    run = await api.prompt(session, "[[script: tokens 150 delay 40]]")
    await api.until(run, "ui.message.assistant.delta")

    # The kernel ends one process after the other; were the agent the first, its runner might still tell of that.
    first = "for one in /proc/[0-9]*; do [ $(cat $one/comm) != python ] || echo 1000 > $one/oom_score_adj; done"
    # What is in these is in memory and no process's: ending processes does not free it.
    fill = "for one in /tmp /dev/shm; do cat /dev/zero > $one/full; done"
    await asyncio.to_thread(engine.inside, session, "sh", "-c", f"{first}; {fill}", check=False)
    events = await api.events(run)

    errors = [one.event for one in events if one.type in {"ui.error", "run.error"}]
    assert ends(events) == ["run.completed"], errors
    assert [one for one in events if one.type == "run.resumed"]

    async def reasons() -> set[str]:
        told = await sandbox_events(stack, session)
        return {one["payload"]["reason"] for one in told if one["type"] == "sandbox.error"}

    async with asyncio.timeout(30):
        while not await reasons():
            await asyncio.sleep(0.2)
    assert await reasons() == {"out_of_memory"}
    again = await api.events(await api.prompt(session, "[[script: tokens 5]]"))
    assert ends(again) == ["run.completed"]
    await assert_nothing_is_left(stack, api, engine, session)


@pytest.fixture
def full_disk(small_disk: Path) -> Iterator[Callable[[], None]]:
    """Makes room again when it is called, and at the end."""

    def make_room() -> None:
        for big in small_disk.glob("*/worktrees/*/big"):
            big.unlink()

    yield make_room
    make_room()


FILL = script({"run": "cat /dev/zero > big 2> /tmp/message; cat /tmp/message"}, {"say": "done"})
FULL = "The disk that the session's files are on is full."


@pytest.mark.parametrize("agent", ["codex", "claude"])
async def test_a_full_disk_is_told_to_the_agent_and_in_the_log_and_the_session_works_again_once_there_is_room(
    api: "Api",
    stack: "Stack",
    engine: "Engine",
    full_disk: Callable[[], None],
    repository: Path,
    sandbox_events: Callable[..., Any],
    agent: str,
) -> None:
    session = await api.session(await api.import_repository(repository), agent)
    run = await api.prompt(session, FILL)
    events = await api.events(run)

    assert ends(events) == ["run.completed"]
    outputs = "".join(str(one.payload["output"]) for one in events if one.type == "ui.tool.result")
    assert "No space left on device" in outputs
    kept = await settled(sandbox_events, stack, session, run)
    assert (kept["type"], kept["payload"]) == ("checkpoint.failed", {"reason": "disk_full", "message": FULL})
    shown = await api.client.get(f"/api/runs/{run}/diff")
    assert (shown.status_code, shown.json()["type"]) == (404, "checkpoint-failed")
    assert FULL in shown.text

    full_disk()
    again = await api.prompt(session, script({"run": "echo x > small && cat small"}, {"say": "ok"}))

    assert ends(await api.events(again)) == ["run.completed"]
    assert (await settled(sandbox_events, stack, session, again))["type"] == "checkpoint.created"
    assert "small" in str(await api.call("GET", f"/api/runs/{again}/diff"))
    await assert_nothing_is_left(stack, api, engine, session)


async def settled(sandbox_events: Callable[..., Any], stack: "Stack", session: str, run: str) -> dict[str, Any]:
    """What became of a run's files."""
    async with asyncio.timeout(30):
        while not (told := await sandbox_events(stack, session, f"run.{run}.effect")):
            await asyncio.sleep(0.1)
    assert len(told) == 1
    return told[0]


async def test_on_a_full_disk_no_container_and_no_session_can_be_had_and_both_say_why(
    api: "Api",
    stack: "Stack",
    engine: "Engine",
    full_disk: Callable[[], None],
    repository: Path,
    sandbox_events: Callable[..., Any],
) -> None:
    workspace = await api.import_repository(repository)
    greedy, waiting = await api.session(workspace, "codex"), await api.session(workspace, "codex")
    assert ends(await api.events(await api.prompt(greedy, FILL))) == ["run.completed"]

    events = await api.events(await api.prompt(waiting, "[[script: tokens 5]]"))
    assert ends(events) == ["run.error"]
    assert events[-1].payload["reason"] == "sandbox_failed"
    assert FULL in events[-1].payload["message"]
    told = await sandbox_events(stack, waiting)
    errors = [one["payload"]["reason"] for one in told if one["type"] == "sandbox.error"]
    assert errors == ["disk_full", "disk_full", "gave_up"]
    refused = await api.client.post("/api/sessions", json={"workspace_id": workspace, "runner_type": "codex"})
    assert (refused.status_code, refused.json()["type"]) == (409, "session-failed")
    assert FULL in refused.text

    full_disk()
    assert ends(await api.events(await api.prompt(waiting, "[[script: tokens 5]]"))) == ["run.completed"]
    await assert_nothing_is_left(stack, api, engine, greedy, waiting)


async def test_a_session_is_deleted_from_a_full_disk_which_has_room_again_then(
    api: "Api", stack: "Stack", engine: "Engine", small_disk: Path, full_disk: object, repository: Path
) -> None:
    assert full_disk
    session = await api.session(await api.import_repository(repository), "codex")
    assert ends(await api.events(await api.prompt(session, FILL))) == ["run.completed"]
    assert shutil.disk_usage(small_disk).free < 1 << 20

    await assert_nothing_is_left(stack, api, engine, session)

    assert shutil.disk_usage(small_disk).free > 1 << 20

"""What becomes of a run whose container has no more memory, or whose worktree is on a full disk."""

import asyncio
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.conftest import Api, Seen, Stack
    from tests.docker.conftest import Engine

pytestmark = [pytest.mark.docker, pytest.mark.agents, pytest.mark.timeout(240)]
TERMINAL = {"run.completed", "run.error", "run.cancelled"}
DISK_MIB = 48


@pytest.fixture(scope="module")
def settings() -> dict[str, str]:
    return {"SANDBOX_MEMORY_MB": "560", "RECONCILE_SECONDS": "1", "IMPORT_SPARE_MIB": "1"}


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


def ends(events: list["Seen"]) -> list[str]:
    return [one.type for one in events if one.type in TERMINAL]


def script(*steps: dict[str, Any]) -> str:
    return f"[[script: {json.dumps({'steps': list(steps)})}]]"


@pytest.mark.parametrize("agent", ["codex", "claude"])
async def test_a_command_that_takes_too_much_memory_is_ended_and_the_run_goes_on(
    api: "Api", engine: "Engine", repository: Path, agent: str
) -> None:
    session = await api.session(await api.import_repository(repository), agent)
    hog = "python3 -c 'x = [bytearray(1 << 20) for _ in range(2048)]; print(len(x))'; echo exit $?"
    run = await api.prompt(session, script({"run": hog}, {"say": "done"}))

    events = await api.events(run)

    assert ends(events) == ["run.completed"]
    outputs = "".join(str(one.payload["output"]) for one in events if one.type == "ui.tool.result")
    assert "exit 137" in outputs
    assert engine.of(session).endswith("-1"), "the same container went on"


async def test_a_container_that_is_out_of_memory_is_told_and_the_run_ends_once(
    api: "Api", stack: "Stack", engine: "Engine", repository: Path, sandbox_events: Callable[..., Any]
) -> None:
    session = await api.session(await api.import_repository(repository), "codex")
    run = await api.prompt(session, "[[script: tokens 150 delay 40]]")
    await api.until(run, "ui.message.assistant.delta")

    # What is in these is in memory and no process's: ending processes does not free it.
    fill = "for one in /tmp /dev/shm; do cat /dev/zero > $one/full; done"
    await asyncio.to_thread(engine.inside, session, "sh", "-c", fill, check=False)
    events = await api.events(run)

    assert len(ends(events)) == 1

    async def reasons() -> set[str]:
        told = await sandbox_events(stack, session)
        return {one["payload"]["reason"] for one in told if one["type"] == "sandbox.error"}

    async with asyncio.timeout(30):
        while not await reasons():
            await asyncio.sleep(0.2)
    assert await reasons() == {"out_of_memory"}
    again = await api.events(await api.prompt(session, "[[script: tokens 5]]"))
    assert ends(again) == ["run.completed"]


@pytest.mark.parametrize("agent", ["codex", "claude"])
async def test_a_full_disk_is_told_to_the_agent_and_the_session_works_again_once_there_is_room(
    api: "Api", small_disk: Path, repository: Path, agent: str
) -> None:
    session = await api.session(await api.import_repository(repository), agent)
    fill = "cat /dev/zero > big 2> /tmp/message; cat /tmp/message"
    events = await api.events(await api.prompt(session, script({"run": fill}, {"say": "done"})))
    try:
        assert ends(events) == ["run.completed"]
        outputs = "".join(str(one.payload["output"]) for one in events if one.type == "ui.tool.result")
        assert "No space left on device" in outputs
    finally:
        for big in small_disk.glob("*/worktrees/*/big"):
            big.unlink()

    again = await api.events(await api.prompt(session, script({"run": "echo x > small && cat small"}, {"say": "ok"})))

    assert ends(again) == ["run.completed"]
    assert "small" in str(await api.call("GET", f"/api/sessions/{session}/diff"))

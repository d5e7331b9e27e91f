"""The beginning and the end of a process that has a supervisor."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from typing import Any

import psutil

from runyard_sandbox.process.identity import family, is_still, signal_quietly, started_by
from runyard_sandbox.process.record import Ended, Folder, Running
from runyard_sandbox.process.watching import Watching
from runyard_sandbox.provisioner import ProvisionFailed, SandboxFault

_START_SECONDS = 15.0
_KILL_SECONDS = 5.0
_STILL_SECONDS = 5.0
_LOOK_SECONDS = 0.01
_SUPERVISOR_ENVIRONMENT = ("PATH", "PYTHONPATH", "VIRTUAL_ENV")


class Lifetimes:
    """Starts and ends them; what is known of each is in its folder."""

    def __init__(self, watching: Watching) -> None:
        self._watching = watching

    async def launch(self, folder: Folder) -> None:
        """Starts what the folder's record says. Raises `ProvisionFailed`."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "runyard_sandbox.process.supervisor",
            str(folder.path),
            env={name: os.environ[name] for name in _SUPERVISOR_ENVIRONMENT if name in os.environ},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
        assert process.stdout is not None  # noqa: S101 (it is a pipe)
        try:
            async with asyncio.timeout(_START_SECONDS):
                told: dict[str, Any] = json.loads(await process.stdout.readline() or "{}")
        except (TimeoutError, ValueError):
            told = {}
        if "pid" not in told:
            signal_quietly(process.pid, signal.SIGUSR1)
            raise ProvisionFailed(str(told.get("error", "its supervisor did not start")))
        self._watching.own(process)
        self._watching.tell(folder.path.name, "start")

    async def stop(self, folder: Folder, grace_seconds: float) -> None:
        """Ends all of it, also where the supervisor is gone."""
        running = folder.running()
        if running is None:
            return
        supervisor = running.supervisor
        if supervisor.lives():
            supervisor.send(signal.SIGTERM)
            if not await self._watching.ended(supervisor, grace_seconds):
                supervisor.send(signal.SIGUSR1)
                await self._watching.ended(supervisor, _KILL_SECONDS)
        if folder.ended() is None and running.supervisor.boot_is_ours():
            left = await asyncio.to_thread(_left_of, running)
            supervisor.send(signal.SIGKILL)
            await asyncio.to_thread(_kill, left)
            await asyncio.to_thread(folder.end, Ended(128 + signal.SIGKILL, reason="supervisor"))

    async def signal(self, folder: Folder, number: signal.Signals) -> None:
        """Sends all of it a signal."""
        running = folder.running()
        if running is None or not running.supervisor.lives():
            raise SandboxFault(f"{folder.path.name} does not run")
        for each in await asyncio.to_thread(family, running.supervisor.pid):
            signal_quietly(each.pid, number)
        if number == signal.SIGSTOP:
            await _stands_still(running.leader.pid)


async def _stands_still(pid: int) -> None:
    """On a busy machine a process goes on for a moment after it was told to stand still."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_STILL_SECONDS):
            while not is_still(pid):  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(_LOOK_SECONDS)


def _left_of(running: Running) -> list[psutil.Process]:
    """What a supervisor watches over; where that was killed, the group that it started, as long as it is that."""
    supervisor = running.supervisor
    return [*(family(supervisor.pid) if supervisor.lives() else ()), *started_by(running.leader)]


def _kill(processes: list[psutil.Process]) -> None:
    for each in processes:
        signal_quietly(each.pid, signal.SIGKILL)
    psutil.wait_procs(processes, timeout=_KILL_SECONDS)

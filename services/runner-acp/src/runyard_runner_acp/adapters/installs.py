"""Agents from npm, at their first use: pinned, with hashes, whole or not at all, one installer at a time.

An image has its agents in a folder that nobody writes to any more: there nothing is installed.
"""

import asyncio
import contextlib
import fcntl
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Generator
from pathlib import Path
from typing import IO

from runyard_runner.adapter import AgentFailed
from runyard_runner.environment import agent_environment
from runyard_runner_acp.adapters.configurations import Configuration
from runyard_runner_acp.adapters.npm import INSTALL, place_of, prepare

NODE = 20
"""The oldest Node whose npm installs all of them."""
SETTINGS = ("npm_config_registry", "NPM_CONFIG_REGISTRY", "npm_config_cafile", "NPM_CONFIG_CAFILE")
WAYS = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")


class Installs:
    """The folder of installed agents, `<name>-<version>` each. `seconds` is how long one installation may take.

    An image's folder is `sealed`.
    """

    def __init__(self, folder: Path, seconds: float = 600, *, sealed: bool = False) -> None:
        self._folder = folder
        self._seconds = seconds
        self._sealed = sealed

    def program(self, agent: Configuration) -> Path | None:
        """The agent's program, when it is installed."""
        program = self._place(agent) / agent.program
        return program if program.is_file() else None

    async def install(self, agent: Configuration) -> AsyncIterator[str]:
        """Installs what is missing and says what it is doing.

        Raises:
            AgentFailed: no Node, no network, no time, not in the image; with the remedy.
        """
        if self.program(agent) is not None:
            return
        if self._sealed:
            raise AgentFailed(
                f"The image of this runner has no {agent.name} {agent.version}. "
                f'Build it with all agents that you use: make images AGENTS="{agent.name} ..."',
                reason="start_failed",
            )
        npm = await _find_npm()
        yield f"{agent.name} {agent.version} is being installed from npm; that happens once."
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            async with asyncio.timeout(self._seconds):
                await self._alone(npm, agent)
        except TimeoutError:
            raise AgentFailed(
                f"npm did not install {agent.name} within {self._seconds:.0f} s. "
                f"Prepare it ahead: runyard agents install {agent.name}",
                reason="start_failed",
            ) from None
        yield f"{agent.name} {agent.version} is installed."

    def _place(self, agent: Configuration) -> Path:
        return self._folder / place_of(agent.lock)

    async def _alone(self, npm: str, agent: Configuration) -> None:
        with (self._folder / f".{agent.name}.lock").open("w") as lock:
            # Nothing announces that another process has let go of it.
            while not _locked(lock):  # noqa: ASYNC110
                await asyncio.sleep(0.2)
            if self.program(agent) is None:
                await self._fill(npm, agent)

    async def _fill(self, npm: str, agent: Configuration) -> None:
        with _temporary(self._folder, f".{agent.name}-") as folder:
            await _run_npm(npm, agent, folder)
            if not (folder / agent.program).is_file():
                raise AgentFailed(f"{agent.name} has no program for this machine.", reason="start_failed")
            place = self._place(agent)
            if place.exists():  # without its program: left by somebody's hand
                shutil.rmtree(place)
            folder.rename(place)


def _locked(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def _temporary(parent: Path, prefix: str) -> Generator[Path]:
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    try:
        yield folder
    finally:
        if folder.exists():
            shutil.rmtree(folder, ignore_errors=True)


async def _find_npm() -> str:
    npm, node = shutil.which("npm"), shutil.which("node")
    remedy = f"Install Node {NODE} or newer with npm, then prompt again."
    if npm is None or node is None:
        raise AgentFailed(f"The agent is installed by npm, and this machine has none. {remedy}", reason="start_failed")
    process = await asyncio.create_subprocess_exec(node, "--version", stdout=asyncio.subprocess.PIPE)
    said = (await process.communicate())[0].decode().strip()
    major = said.removeprefix("v").partition(".")[0]
    if not major.isdigit() or int(major) < NODE:
        raise AgentFailed(f"Node {said or 'of unknown version'} is too old. {remedy}", reason="start_failed")
    return npm


async def _run_npm(npm: str, agent: Configuration, folder: Path) -> None:
    prepare(folder, agent.lock)
    passed = {name: os.environ[name] for name in (*SETTINGS, *WAYS) if name in os.environ}
    own = Path.home()  # npm's own settings and cache, which say where packages come from
    process = await asyncio.create_subprocess_exec(
        npm,
        *INSTALL,
        cwd=folder,
        env={**agent_environment(os.environ, own), **passed},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        said = (await process.communicate())[0].decode(errors="replace")
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    if process.returncode:
        words = "\n".join(line for line in said.splitlines() if "error" in line.lower())[-2000:]
        raise AgentFailed(
            f"npm could not install {agent.name} {agent.version}; it needs the network. "
            f"Prepare it ahead: runyard agents install {agent.name}\n{words}",
            reason="start_failed",
        )

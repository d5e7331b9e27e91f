"""Agents from npm as agents of the run loop: a process per run, gone with it."""

import asyncio
import shutil

from runyard_runner.adapter import AgentFailed, AgentsByType, AgentStart
from runyard_runner.json_rpc import JsonRpc
from runyard_runner.processes import end_all, spawn
from runyard_runner_acp.adapters.configurations import (
    CONFIGURATIONS,
    Configuration,
    environment,
    forget_secrets,
    write_settings,
)
from runyard_runner_acp.adapters.installs import NODE, Installs
from runyard_runner_acp.adapters.turn import AcpTurn
from runyard_runner_acp.settings import Settings

DEFAULT_MODEL = "gpt-5.5"


class AcpAgent:
    """One of the configured agents."""

    def __init__(self, configuration: Configuration, settings: Settings) -> None:
        self._configuration = configuration
        self._settings = settings
        sealed = settings.acp_bundled is not None
        self._installs = Installs(settings.installs, settings.acp_install_seconds, sealed=sealed)

    @property
    def name(self) -> str:
        """Provider of the events."""
        return self._configuration.name

    async def start(self, start: AgentStart) -> AcpTurn:
        """A turn that installs and starts the agent once it is listened to."""
        return AcpTurn(
            start,
            self._configuration.dialect,
            prepare=lambda: self._installs.install(self._configuration),
            boot=self._boot,
            release=lambda start: forget_secrets(self._configuration.name, start),
        )

    async def close(self) -> None:
        """Stops every process that was started."""
        await end_all(self._settings.agents_root)

    async def _boot(self, start: AgentStart) -> JsonRpc:
        agent = self._configuration
        model = start.model or self._settings.model_of(agent.name) or DEFAULT_MODEL
        program = self._installs.program(agent)
        if program is None:
            raise AgentFailed(f"{agent.name} is not installed.", reason="start_failed")
        command = [*_runtime(agent, start), str(program), *agent.arguments]
        await asyncio.to_thread(write_settings, agent.name, start, model)
        try:
            child = await spawn(
                command,
                cwd=start.cwd,
                env=environment(agent.name, start, model),
                folder=self._settings.agents_root,
            )
        except OSError as error:
            raise AgentFailed(f"{agent.name} cannot be started: {error}", reason="start_failed") from error
        return JsonRpc(child, agent.dialect.marks)


def _runtime(agent: Configuration, start: AgentStart) -> list[str]:
    if agent.runtime is None:
        return []
    found = shutil.which(agent.runtime, path=start.env.get("PATH"))
    if found is None:
        raise AgentFailed(
            f"{agent.name} runs on Node, and there is none. Install Node {NODE} or newer, then prompt again.",
            reason="start_failed",
        )
    return [found]


def agents(settings: Settings) -> AgentsByType:
    """All of them, by the runner type that sessions name."""
    return AgentsByType({name: AcpAgent(one, settings) for name, one in CONFIGURATIONS.items()})

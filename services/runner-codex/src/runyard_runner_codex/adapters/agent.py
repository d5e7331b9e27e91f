"""Codex as an agent of the run loop."""

import asyncio
import contextlib
import os
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import structlog
from codex_cli_bin import bundled_codex_path

from runyard_events.catalogue import Notice
from runyard_runner.adapter import AgentFailed, AgentStart, Native
from runyard_runner.environment import agent_environment
from runyard_runner.json_rpc import RpcError
from runyard_runner.processes import end_all, spawn
from runyard_runner_codex.adapters.app_server import AppServer
from runyard_runner_codex.adapters.config import (
    command_line,
    environment,
    thread_parameters,
    token_file,
    turn_parameters,
)
from runyard_runner_codex.adapters.homes import Homes
from runyard_runner_codex.adapters.servers import Servers, Warm
from runyard_runner_codex.adapters.turn import CodexTurn
from runyard_runner_codex.settings import Settings

logger = structlog.get_logger(__name__)

WRITER_PATIENCE = 5.0
"""Seconds for a process that still holds the thread (its runner has just died) to end."""


class CodexAgent:
    """Codex, one app-server process per session."""

    name = "codex"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._binary = Path(settings.codex_binary or bundled_codex_path())
        self._homes = Homes(settings.agents_root, version("openai-codex-cli-bin"), self._set_up)
        self._servers = Servers(
            self._boot,
            idle_seconds=settings.codex_idle_seconds,
            idle_limit=settings.codex_idle_processes,
        )

    async def start(self, start: AgentStart) -> CodexTurn:
        """Opens or resumes the session's thread and gives it the prompt."""
        warm = await self._servers.claim(start)
        token = token_file(start.home)
        try:
            _write_secret(token, start.run_token)
            thread, first = await self._open_thread(warm, start)
            answer = await _ask(warm.server, "turn/start", turn_parameters(start, thread, self._settings))
        except BaseException:
            await self._servers.release(start.session_id, kill=True)
            raise

        async def release(kill: bool) -> None:  # noqa: FBT001 - a callback of one argument
            token.unlink(missing_ok=True)
            await self._servers.release(start.session_id, kill=kill)

        return CodexTurn(
            warm.server,
            thread=thread,
            turn=answer["turn"]["id"],
            cwd=str(start.cwd),
            first=first,
            release=release,
        )

    async def close(self) -> None:
        """Stops every process that was started."""
        await end_all(self._settings.agents_root)
        await self._servers.close()

    async def prepare(self) -> None:
        """Makes the first run of every session faster; may run beside them."""
        with contextlib.suppress(AgentFailed):
            await self._homes.prepare()

    async def _boot(self, start: AgentStart) -> AppServer:
        await self._homes.open(start.home)
        return await self._launch(start.home, start.env)

    async def _set_up(self, home: Path) -> None:
        server = await self._launch(home, agent_environment(os.environ, home))
        await server.stop()

    async def _launch(self, home: Path, allowed: Mapping[str, str]) -> AppServer:
        try:
            child = await spawn(
                command_line(self._binary, self._settings),
                cwd=home,
                env=environment(allowed, home),
                folder=self._settings.agents_root,
            )
        except OSError as error:
            raise AgentFailed(f"Codex cannot be started: {error}", reason="start_failed") from error
        server = AppServer(child)
        try:
            await server.initialize(version("runyard-runner-codex"))
        except BaseException as error:
            await server.stop(grace=0.5)
            if isinstance(error, RpcError):
                raise AgentFailed(str(error), reason="start_failed") from error
            raise
        return server

    async def _open_thread(self, warm: Warm, start: AgentStart) -> tuple[str, tuple[Native, ...]]:
        known = start.native_thread_id
        if known is not None and warm.thread == known:
            return known, ()
        parameters = thread_parameters(start, self._settings)
        first: tuple[Native, ...] = ()
        if known is not None:
            try:
                warm.thread = await self._resume(warm.server, known, parameters)
            except RpcError as error:
                logger.warning("codex.thread_lost", session_id=start.session_id, error=str(error))
                text = "The earlier conversation could not be opened again; the agent starts without it."
                first = (Native(raw=None, neutral=(Notice(level="warning", message=text),)),)
            else:
                return known, ()
        answer = await _ask(warm.server, "thread/start", parameters)
        thread: str = answer["thread"]["id"]
        warm.thread = thread
        return thread, first

    async def _resume(self, server: AppServer, thread: str, parameters: Mapping[str, Any]) -> str:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + WRITER_PATIENCE
        while True:
            try:
                answer = await server.request("thread/resume", {**parameters, "threadId": thread, "excludeTurns": True})
            except RpcError as error:
                if "active writer" not in str(error) or loop.time() > deadline:
                    raise
                await asyncio.sleep(0.2)  # nothing announces the end of the other process
            else:
                return answer["thread"]["id"]


def _write_secret(path: Path, secret: str) -> None:
    path.touch(mode=0o600)
    path.write_text(secret)


async def _ask(server: AppServer, method: str, params: Mapping[str, Any]) -> Any:
    try:
        return await server.request(method, params)
    except RpcError as error:
        raise AgentFailed(str(error), reason="start_failed") from error

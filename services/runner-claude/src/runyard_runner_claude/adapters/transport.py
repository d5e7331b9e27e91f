"""The SDK's way to Claude's process, with every line recorded and nothing inherited.

The SDK's own transport merges `os.environ` into the agent's environment, drops what its parser does not
know and starts the process in the runner's group. Of it only the command line is kept: the process is ours
(own session, dies with the runner, found and ended with everything that it started), its environment is
exactly what it is given, and the SDK sees nothing but the control protocol (`initialize`, permissions,
interrupt), which is what it drives. All other lines go from the tape to the translator as they came.
"""

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Literal

from claude_agent_sdk import ClaudeAgentOptions, CLIConnectionError, ProcessError
from claude_agent_sdk._internal.transport.subprocess_cli import SubprocessCLITransport

from runyard_runner.processes import Child, LineTooLong, spawn
from runyard_runner_claude.adapters.tape import Tape
from runyard_runner_claude.native import Json, obj

Parting = Literal["leave", "stop", "kill"]
"""At the end of its input Claude ends its transcript and leaves, but not while it waits for a background
command: then it has to be told to stop. Killed, it can do neither."""

LEAVE_WITHIN = 3.0
STDERR_LINES = 20


class RecordingTransport(SubprocessCLITransport):
    """A Claude process whose lines are kept on a tape."""

    def __init__(
        self,
        options: ClaudeAgentOptions,
        *,
        cwd: Path,
        env: Mapping[str, str],
        folder: Path,
        tape: Tape,
    ) -> None:
        super().__init__(prompt="", options=options)
        self.parting: Parting = "kill"
        """How `close` ends the process."""
        self._place = cwd
        self._env = env
        self._folder = folder
        self._tape = tape
        self._child: Child | None = None
        self._errors: deque[str] = deque(maxlen=STDERR_LINES)
        self._reading_errors: asyncio.Task[None] | None = None
        self._closing = False

    @property
    def pid(self) -> int | None:
        """Process, process group and session in one: the child leads its own."""
        return self._child.pid if self._child else None

    @property
    def last_words(self) -> str:
        """The end of what the process wrote to stderr, without its own diagnostics."""
        return "\n".join(line for line in self._errors if not line.startswith("[claude-code:"))

    async def connect(self) -> None:
        """Start the process. Raises CLIConnectionError."""
        self._cli_path = self._cli_path or self._find_cli()
        try:
            child = await spawn(
                self._build_command(),
                cwd=self._place,
                env=self._env,
                folder=self._folder,
                stderr=asyncio.subprocess.PIPE,
            )
        except OSError as error:
            raise CLIConnectionError(f"Claude cannot be started: {error}") from error
        self._child = child
        self._reading_errors = asyncio.create_task(self._read_errors(child))

    def is_ready(self) -> bool:
        return self._child is not None and self._child.alive

    async def write(self, data: str) -> None:
        self._tape.sent(obj(json.loads(data)))
        try:
            await self._started().write(data.encode())
        except OSError as error:
            raise CLIConnectionError("Claude has left.") from error

    async def end_input(self) -> None:
        if self._child and (stdin := self._child.process.stdin):
            stdin.close()

    def read_messages(self) -> AsyncIterator[dict[str, Any]]:
        return self._read()

    async def close(self) -> None:
        """End the process and everything that it has started; bounded, as the SDK asks of it."""
        child, self._child = self._child, None
        if child is None:
            return
        self._closing = True
        if child.process.stdin:
            child.process.stdin.close()
        if self.parting == "leave":
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(child.process.wait(), LEAVE_WITHIN)
        await child.stop(grace=0.0 if self.parting == "kill" else LEAVE_WITHIN)
        if self._reading_errors:
            self._reading_errors.cancel()
        self._tape.end()

    async def _read(self) -> AsyncIterator[Json]:
        child = self._started()
        try:
            async for line in child.lines():
                message = _parsed(line)
                if message is None:
                    continue
                await self._tape.received(message)
                if str(message.get("type")).startswith("control_"):
                    yield message
        except LineTooLong as error:
            self._errors.append(str(error))
            self.parting = "kill"
        finally:
            self._tape.end()
        if not self._closing:
            # Whatever its exit code: a request that still waits for an answer will not get one.
            raise ProcessError("Claude has left.", exit_code=child.process.returncode)

    async def _read_errors(self, child: Child) -> None:
        stderr = child.process.stderr
        while stderr and (chunk := await stderr.read(65536)):
            self._errors.extend(chunk.decode(errors="replace").splitlines())

    def _started(self) -> Child:
        if self._child is None:
            raise CLIConnectionError("Claude is not running.")
        return self._child


def _parsed(line: bytes) -> Json | None:
    """A line as JSON; what is no JSON object (a stray print) is kept as text."""
    if not line.strip():
        return None
    with contextlib.suppress(ValueError):
        if message := obj(json.loads(line)):
            return message
    return {"type": "text", "text": line.decode(errors="replace")}

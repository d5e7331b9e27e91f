"""A turn of Claude: the SDK's client for the control protocol, the tape for everything that is said."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from claude_agent_sdk import (
    ClaudeSDKClient,
    ClaudeSDKError,
    PermissionResultAllow,
    PermissionResultDeny,
    PermissionUpdate,
    ToolPermissionContext,
)

from runyard_events.catalogue import Notice
from runyard_runner.adapter import AgentFailed, AgentStart, Decision, Native
from runyard_runner_claude.adapters.home import Home
from runyard_runner_claude.adapters.launch import control_options, environment, options
from runyard_runner_claude.adapters.tape import Tape
from runyard_runner_claude.adapters.transport import RecordingTransport
from runyard_runner_claude.asks import Deny, verdict
from runyard_runner_claude.translate import Translator

LOST = "Claude's memory of this session's earlier runs is gone; it begins afresh."
_ACCEPT = Decision(kind="accept")


class ClaudeTurn:
    """A running turn in a process of its own."""

    def __init__(
        self, start: AgentStart, *, folder: Path, model: str | None, retries: int, on_close: Callable[[], None]
    ) -> None:
        home = Home(start.home, start.run_id)
        home.prepare(start.run_token)
        opening = home.opening(start.thread_id, start.native_thread_id)
        chosen = options(start, home, opening, model=model)
        self._start = start
        self._home = home
        self._lost = opening.lost
        self._on_close = on_close
        self._asks = start.approval_policy == "on-request"
        self._translator = Translator(start.cwd, asks=self._asks)
        self._tape = Tape()
        self._transport = RecordingTransport(
            chosen,
            cwd=start.cwd,
            env=environment(start, home, retries=retries),
            folder=folder,
            tape=self._tape,
        )
        self._client = ClaudeSDKClient(control_options(start, self._may_use), transport=self._transport)
        self._answers: dict[str, asyncio.Future[Decision]] = {}
        self._interrupting: asyncio.Task[None] | None = None
        self._ended = False
        self._closed = False
        self._gone = asyncio.Event()

    @property
    def session_id(self) -> str:
        return self._start.session_id

    @property
    def process_group(self) -> int | None:
        """The process leads a group and a session of its own."""
        return self._transport.pid

    async def open(self) -> None:
        """Start the process and give it the prompt. Raises AgentFailed."""
        try:
            await self._client.connect()
            await self._client.query(self._start.prompt)
        except Exception as error:
            # The SDK raises bare exceptions too (a handshake that takes too long).
            words = self._transport.last_words
            await self.close(kill=True)
            raise AgentFailed(words or str(error), reason="start_failed") from error
        except BaseException:
            await self.close(kill=True)
            raise

    def __aiter__(self) -> AsyncIterator[Native]:
        return self._natives()

    async def answer(self, key: str, decision: Decision) -> None:
        """Give a person's decision to the tool call that waits for it."""
        waiting = self._answer_to(key)
        if not waiting.done():
            waiting.set_result(decision)

    async def steer(self, text: str) -> bool:
        """Claude reads it with the next tool result, or as one more turn of this run."""
        if self._ended or self._closed:
            return False
        try:
            await self._client.query(text)
        except ClaudeSDKError:
            return False
        return True

    async def interrupt(self) -> None:
        """Ask Claude to stop; it kills the command that it is running. Its answer comes on the tape."""
        self._translator.interrupted = True
        if self._interrupting is None and not self._closed:
            self._interrupting = asyncio.create_task(self._ask_to_stop())

    async def close(self, *, kill: bool = False) -> None:
        """End the process and everything that it started, and forget the run's token."""
        if self._closed:
            await self._gone.wait()
            return
        self._closed = True
        self._translator.interrupted = True
        self._transport.parting = "kill" if kill else "stop" if self._translator.background else "leave"
        if self._interrupting:
            self._interrupting.cancel()
        try:
            await self._client.disconnect()
        finally:
            self._home.forget_token()
            self._gone.set()
            self._on_close()

    async def gone(self) -> None:
        """Wait until the process has left and its transcript is whole."""
        await self._gone.wait()

    async def _natives(self) -> AsyncIterator[Native]:
        if self._lost:
            yield Native(raw=None, neutral=(Notice(level="warning", message=LOST),))
        while line := await self._tape.take():
            if line.direction == "sent":
                yield Native(raw=line.raw, direction="sent")
                continue
            native = self._translator.received(line.raw)
            self._ended = native.end is not None
            yield native
            if self._ended:
                return
        self._ended = True
        if not self._translator.settled:
            words = self._transport.last_words
            raise AgentFailed(f"Claude has left in the middle of the turn. {words}".strip())
        yield self._translator.left()

    async def _may_use(
        self, tool_name: str, arguments: dict[str, Any], context: ToolPermissionContext
    ) -> PermissionResultAllow | PermissionResultDeny:
        """The SDK's permission callback: waits for `answer`. Cancelled when Claude withdraws the request."""
        suggestions = [update.to_dict() for update in context.suggestions]
        request = {"tool_name": tool_name, "input": arguments, "permission_suggestions": suggestions}
        key = context.tool_use_id or ""
        try:
            decision = await self._answer_to(key) if self._asks else _ACCEPT
        finally:
            self._answers.pop(key, None)
        answer = verdict(request, decision)
        if isinstance(answer, Deny):
            return PermissionResultDeny(message=answer.message, interrupt=answer.interrupt)
        self._home.add_grants(list(answer.granted))
        updates = [PermissionUpdate.from_dict(update) for update in answer.granted]
        return PermissionResultAllow(updated_input=answer.input, updated_permissions=updates or None)

    def _answer_to(self, key: str) -> asyncio.Future[Decision]:
        """Made by whichever comes first: Claude's question or, when it was known already, its answer."""
        return self._answers.setdefault(key, asyncio.get_running_loop().create_future())

    async def _ask_to_stop(self) -> None:
        # An answer that never comes is the loop's business: after a grace it kills the process group.
        with contextlib.suppress(Exception):
            await self._client.interrupt()

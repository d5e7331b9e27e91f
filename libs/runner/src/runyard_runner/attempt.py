"""Taking a run: the lease, what the log knows already, the attempt's first event, then the loop."""

import asyncio
import contextlib
import os
import re
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import Enum
from operator import attrgetter
from pathlib import Path

import structlog

from runyard_events.catalogue import (
    AnyPayload,
    ErrorReason,
    RunCancelled,
    RunError,
    RunResumed,
    RunStarted,
    UiRunCancelled,
    UiRunError,
    UiRunStarted,
)
from runyard_events.commands import Command, StartRun
from runyard_events.leases import Leases
from runyard_events.log import EventLog
from runyard_events.redact import Redactor
from runyard_events.subjects import Scope
from runyard_events.writer import Writer
from runyard_runner.adapter import Agent, AgentFailed, AgentsByType, AgentStart
from runyard_runner.approvals import Approvals
from runyard_runner.batching import Gathered
from runyard_runner.control import Control, Superseded
from runyard_runner.environment import agent_environment
from runyard_runner.journal import Journal, RunEnded
from runyard_runner.loop import RunLoop
from runyard_runner.open_items import OpenItems
from runyard_runner.output_store import OutputStore
from runyard_runner.outputs import Outputs
from runyard_runner.publisher import Publisher
from runyard_runner.run_tokens import RunTokens
from runyard_runner.settings import RunnerSettings
from runyard_runner.state import RunState, fold
from runyard_runner.tenure import Tenure, tenure

logger = structlog.get_logger(__name__)

NAME = re.compile(r"[A-Za-z0-9_-]{1,128}")
FLUSH_AT_STOP = 2.0
CONTINUE = """\
The process that worked on the following request was interrupted and has been started again. Whatever it \
was running has been stopped. See what is done already and carry on from there; do not start over.

{prompt}"""


class Outcome(Enum):
    """What became of a start command."""

    DONE = "done"
    """The run is over, or another runner's business."""
    HELD = "held"
    """Another runner holds the run's lease: look again later."""
    POISON = "poison"
    """No runner can do anything with this command."""


@dataclass(frozen=True, kw_only=True)
class Desk:
    """What every attempt of this process works with."""

    service: str
    runner_id: str
    agent: Agent
    log: EventLog
    leases: Leases
    outputs: OutputStore
    settings: RunnerSettings
    run_tokens: RunTokens
    redactor: Redactor
    lease_key: Callable[[StartRun], str] = attrgetter("run_id")
    """Under which key a run's lease is held: its id, or in a container `<session>.<run>`, which permissions divide."""


async def take(desk: Desk, command: Command[StartRun]) -> Outcome:
    """Runs a start command to the end of its run. Cancelling it stops the agent and leaves the run open."""
    order = command.payload
    if isinstance(desk.agent, AgentsByType):
        try:
            desk = replace(desk, agent=desk.agent.of(order.runner_type))
        except KeyError:
            return Outcome.POISON
    if not all(NAME.fullmatch(one) for one in (command.tenant_id, order.session_id, order.run_id)):
        return Outcome.POISON
    async with tenure(desk.leases, desk.lease_key(order), desk.runner_id) as held:
        if held is None:
            return Outcome.HELD
        scope = Scope.run(command.tenant_id, order.session_id, order.run_id)
        state = fold([one async for one in desk.log.replay(scope.subject("lifecycle"))])
        if state.last_seq == 0:
            return Outcome.POISON
        if state.terminal is None:
            attempt = _Attempt(desk, command, scope, state, held)
            with contextlib.suppress(RunEnded):
                await attempt.go()
        return Outcome.DONE


class _Attempt:
    def __init__(self, desk: Desk, command: Command[StartRun], scope: Scope, state: RunState, held: Tenure) -> None:
        self._desk = desk
        self._command = command
        self._order = command.payload
        self._scope = scope
        self._state = state
        self._held = held
        self._number = state.attempt + 1
        self._source = f"{desk.service}.{self._number}"
        writer = Writer(
            desk.log,
            scope=scope,
            source=self._source,
            provider=desk.agent.name,
            correlation_id=command.correlation_id,
            traceparent=command.traceparent,
            redactor=desk.redactor,
        )
        self._journal = Journal(writer, last_seq=state.last_seq)

    async def go(self) -> None:
        if self._state.cancel is not None:
            cancel = self._state.cancel
            await self._conclude(
                UiRunCancelled(message=cancel.reason),
                RunCancelled(requested_by=cancel.requested_by, reason=cancel.reason),
            )
        elif self._number > self._desk.settings.max_attempts:
            await self._fail("runner_lost", f"The run was lost by {self._state.attempt} runners, one after the other.")
        elif problem := unusable(Path(self._order.working_directory), self._desk.settings.workspaces_root):
            await self._fail(*problem)
        else:
            await self._work()

    async def _fail(self, reason: ErrorReason, message: str) -> None:
        await self._conclude(UiRunError(message=message, reason=reason), RunError(reason=reason, message=message))

    async def _conclude(self, *last: AnyPayload) -> None:
        """Ends a run that no agent works on."""
        async with self._publishing() as publisher:
            await publisher.say(*(await self._left_open()).closing())
            await publisher.finish()
        await self._journal.lifecycle(last)

    async def _work(self) -> None:
        started_at = self._state.started_at or datetime.now(UTC)
        items = await self._left_open()
        try:
            token = await self._desk.run_tokens.for_run(self._command.tenant_id, self._order)
        except AgentFailed as failure:
            await self._fail(failure.reason, str(failure))
            return
        start = self._agent_start(token)
        await self._journal.lifecycle(self._first())
        async with self._publishing() as publisher:
            loop = RunLoop(
                agent=self._desk.agent,
                start=start,
                journal=self._journal,
                publisher=publisher,
                approvals=Approvals.after(self._order.run_id, self._state.approvals),
                items=items,
                control=self._control,
                start_timeout=self._desk.settings.start_timeout_seconds,
                grace=self._desk.settings.interrupt_grace_seconds,
                time_limit=self._order.time_limit_seconds,
                started_at=started_at,
                follow_from=self._state.last_seq + 1,
            )
            self._held.lost = lambda: loop.control.interrupt(Superseded())
            await loop.run()

    def _first(self) -> Sequence[AnyPayload]:
        thread = self._native_thread
        twin = UiRunStarted(session_id=self._order.session_id)
        who = self._desk.runner_id
        if self._number == 1:
            return (
                twin,
                RunStarted(runner_id=who, attempt=1, native_thread_id=thread, model=self._model),
            )
        return (
            twin,
            RunResumed(runner_id=who, attempt=self._number, native_thread_id=thread, reason="runner_lost"),
        )

    @property
    def _native_thread(self) -> str | None:
        return self._state.native_thread_id or self._order.native_thread_id

    @property
    def _model(self) -> str | None:
        return self._order.model or self._desk.settings.model_of(self._order.runner_type)

    def _agent_start(self, token: str) -> AgentStart:
        order, settings = self._order, self._desk.settings
        home = settings.agents_root / order.session_id
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        return AgentStart(
            run_id=order.run_id,
            session_id=order.session_id,
            thread_id=order.thread_id,
            native_thread_id=self._native_thread,
            attempt=self._number,
            prompt=order.prompt if self._number == 1 else CONTINUE.format(prompt=order.prompt),
            cwd=Path(order.working_directory),
            home=home,
            model=self._model,
            approval_policy=order.approval_policy,
            model_base_url=settings.llm_gateway_url,
            run_token=token,
            env=agent_environment(os.environ, home),
        )

    def _control(self, loop: RunLoop) -> Control:
        return Control(
            self._desk.log,
            self._scope.subject("lifecycle"),
            source=self._source,
            runner_id=self._desk.runner_id,
            answer=loop.answer,
            steer=loop.steer,
        )

    @contextlib.asynccontextmanager
    async def _publishing(self) -> AsyncGenerator[Publisher]:
        redactor = self._desk.redactor
        outputs = Outputs(self._desk.outputs, self._scope, redactor)
        publisher = Publisher(self._journal, outputs, Gathered(redactor))
        try:
            yield publisher
        finally:
            # After a stop what the agent has said is still worth keeping; an ended run has nothing left.
            with contextlib.suppress(Exception):
                async with asyncio.timeout(FLUSH_AT_STOP):
                    await publisher.finish()
            await publisher.close()

    async def _left_open(self) -> OpenItems:
        items = OpenItems()
        if self._state.attempt:
            async for stored in self._desk.log.replay(self._scope.subject("ui")):
                items.observe(stored.event.payload)
        return items


def unusable(directory: Path, root: Path) -> tuple[ErrorReason, str] | None:
    """Why an agent cannot work in a directory: it is gone, or outside the workspaces once links are resolved."""
    try:
        real = directory.resolve(strict=True)
    except OSError:
        return ("workspace_lost", "The session's working directory is not there any more.")
    if not real.is_dir() or not real.is_relative_to(root.resolve()):
        return ("start_failed", "The session's working directory is outside the workspaces.")
    return None

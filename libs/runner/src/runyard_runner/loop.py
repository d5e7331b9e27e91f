"""One attempt at one run: the agent's natives into the log, the log's decisions to the agent, one end."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TypeVar

import structlog

from runyard_events.catalogue import (
    AnyPayload,
    ApprovalRequested,
    ApprovalResolved,
    Notice,
    RawReceived,
    RawSent,
    RunApprovalRequested,
    RunApprovalResolved,
    RunThreadBound,
)
from runyard_events.stored import StoredEvent
from runyard_events.tasks import end_tasks
from runyard_runner.adapter import Agent, AgentFailed, AgentStart, Ask, Decision, Native, Turn, TurnEnd
from runyard_runner.approvals import Approvals, Bound
from runyard_runner.batching import Entry
from runyard_runner.control import Cancelled, Control, Interruption, Superseded, TimeIsUp
from runyard_runner.ending import ending
from runyard_runner.journal import Journal, RunEnded
from runyard_runner.open_items import OpenItems
from runyard_runner.outputs import clipped
from runyard_runner.publisher import Publisher

logger = structlog.get_logger(__name__)

Answer = TypeVar("Answer")

DETAIL = 16 * 1024
"""Characters of one field of what is asked."""


class RunLoop:
    """Drives one turn of an agent. Made for one use: `run` returns when the run has ended.

    `items` may hold what an earlier attempt has left open; it is closed before anything else is said.
    """

    def __init__(
        self,
        *,
        agent: Agent,
        start: AgentStart,
        journal: Journal,
        publisher: Publisher,
        approvals: Approvals,
        items: OpenItems,
        control: Callable[["RunLoop"], Control],
        start_timeout: float,
        grace: float,
        time_limit: int,
        started_at: datetime,
        follow_from: int,
    ) -> None:
        self._agent = agent
        self._start = start
        self._journal = journal
        self._publisher = publisher
        self._approvals = approvals
        self._items = items
        self._start_timeout = start_timeout
        self._grace = grace
        self._time_limit = time_limit
        self._started_at = started_at
        self._follow_from = follow_from
        self._turn: Turn | None = None
        self._thread = start.native_thread_id
        self.control = control(self)

    async def run(self) -> None:
        """Runs the turn to its end and appends the terminal event.

        Cancelling this task stops the agent and leaves the run open, to be taken up again.
        """
        following = asyncio.create_task(self.control.follow(self._follow_from))
        work = asyncio.create_task(self._work())
        try:
            await self._publisher.say(*self._items.closing())
            interruption = await self._until_stopped(work)
            if isinstance(interruption, Superseded):
                return
            end = await self._result(work, interruption)
            await self._end(end, interruption)
        except RunEnded:
            logger.info("run.ended_elsewhere", run_id=self._start.run_id)
        except Exception:
            logger.exception("run.failed", run_id=self._start.run_id)
            await self._fail()
        finally:
            await self._let_go(work)
            await end_tasks(following)

    async def answer(self, approval_id: str, decision: Decision) -> None:
        """A person's answer has come in."""
        key = self._approvals.answered(approval_id, decision)
        if key is None or self._turn is None:
            return
        await self._to_agent(self._turn.answer(key, decision))
        if decision.kind == "cancel":
            self.control.interrupt(Cancelled(reason="approval_cancelled"))

    async def steer(self, text: str) -> None:
        """Words for the running turn have come in."""
        if self._turn is None or not await self._to_agent(self._turn.steer(text)):
            await self._publisher.say(
                Notice(level="warning", message="The agent cannot take new words into this turn.")
            )

    async def _work(self) -> TurnEnd:
        try:
            async with asyncio.timeout(self._start_timeout):
                self._turn = turn = await self._agent.start(self._start)
            async for native in turn:
                await self._forward(turn, native)
                if native.end is not None:
                    return native.end
        except AgentFailed as failure:
            return TurnEnd(status="error", message=str(failure), reason=failure.reason)
        except TimeoutError:
            return TurnEnd(status="error", message="The agent did not start in time.", reason="start_failed")
        return TurnEnd(status="error", message="The agent stopped without an answer.")

    async def _forward(self, turn: Turn, native: Native) -> None:
        now = datetime.now(UTC)
        raw: Entry | None = None
        entries: list[Entry] = []
        if native.raw is not None:
            kind = RawReceived if native.direction == "received" else RawSent
            raw = Entry(kind(dict(native.raw)), now)
            entries.append(raw)
        for payload in native.neutral:
            self._items.observe(payload)
            entries.append(Entry(payload, now, raw))
        await self._publisher.put(entries)
        if native.thread is not None and native.thread != self._thread:
            self._thread = native.thread
            await self._journal.lifecycle([RunThreadBound(native_thread_id=native.thread)])
        if native.ask is not None:
            await self._ask(turn, native.ask)
        if native.answered is not None:
            await self._withdraw(native.answered)

    async def _ask(self, turn: Turn, ask: Ask) -> None:
        if self._start.approval_policy == "never":
            await self._to_agent(
                turn.answer(ask.key, Decision(kind="decline", message="Nobody is asked in this session."))
            )
            return
        bound = self._approvals.bind(ask)
        if not bound.known:
            await self._publisher.flush()
            await self._journal.lifecycle(asked(ask, bound))
        elif bound.decision is not None:
            await self._to_agent(turn.answer(ask.key, bound.decision))

    async def _withdraw(self, key: str) -> None:
        approval_id = self._approvals.withdrawn(key)
        if approval_id is None:
            return

        def answered(last: StoredEvent) -> bool:
            payload = last.event.payload
            return isinstance(payload, RunApprovalResolved) and payload.approval_id == approval_id

        await self._publisher.flush()
        by = f"service:{self._journal.writer.source}"
        await self._journal.lifecycle(
            [
                ApprovalResolved(approval_id=approval_id, decision="cancel", resolved_by=by),
                RunApprovalResolved(approval_id=approval_id, decision="cancel", resolved_by=by),
            ],
            unless=answered,
        )

    async def _until_stopped(self, work: asyncio.Task[TurnEnd]) -> Interruption | None:
        """Waits for the agent's end, an interruption, or the end of the run's time."""
        used = (datetime.now(UTC) - self._started_at).total_seconds()
        await asyncio.wait(
            {work, self.control.interrupted},
            timeout=max(0.0, self._time_limit - used),
            return_when=asyncio.FIRST_COMPLETED,
        )
        if not work.done() and not self.control.interrupted.done():
            self.control.interrupt(TimeIsUp())
        return self.control.interrupted.result() if self.control.interrupted.done() else None

    async def _result(self, work: asyncio.Task[TurnEnd], interruption: Interruption | None) -> TurnEnd | None:
        if interruption is not None and not work.done():
            if self._turn is not None:
                await self._to_agent(self._turn.interrupt())
                await asyncio.wait({work}, timeout=self._grace)
            await self._let_go(work, kill=not work.done())
        return None if work.cancelled() else work.result()

    async def _end(self, end: TurnEnd | None, interruption: Interruption | None) -> None:
        await self._publisher.say(*self._items.closing())
        await self._publisher.finish()
        duration = int((datetime.now(UTC) - self._started_at).total_seconds() * 1000)
        last = ending(end, interruption, duration_ms=duration, time_limit=self._time_limit)
        await self._journal.lifecycle(last)

    async def _fail(self) -> None:
        """The runner itself is at fault: the run ends all the same."""
        end = TurnEnd(status="error", message="The runner failed.", reason="internal")
        with contextlib.suppress(RunEnded):
            await self._journal.lifecycle(ending(end, None, duration_ms=0, time_limit=self._time_limit))

    async def _let_go(self, work: asyncio.Task[TurnEnd], *, kill: bool | None = None) -> None:
        """Ends the work; an agent that has not ended its turn by itself is killed."""
        unfinished = not work.done() or work.cancelled() or work.exception() is not None
        await end_tasks(work, patience=2)
        turn, self._turn = self._turn, None
        if turn is not None:
            with contextlib.suppress(AgentFailed):
                await turn.close(kill=unfinished if kill is None else kill)

    async def _to_agent(self, call: Awaitable[Answer]) -> Answer | None:
        """An agent that is gone shows it by the end of its natives, not here."""
        try:
            return await call
        except AgentFailed as failure:
            logger.info("agent.deaf", run_id=self._start.run_id, error=str(failure))
            return None


def asked(ask: Ask, bound: Bound) -> tuple[AnyPayload, ...]:
    """The events of a new approval, the twin first."""
    detail = {name: clipped(value, DETAIL) for name, value in ask.detail.items()}
    questions = tuple(dict(one) for one in ask.questions)
    return (
        ApprovalRequested(
            approval_id=bound.approval_id,
            ask_kind=ask.kind,
            title=ask.title,
            detail=detail,
            options=ask.options,
            questions=questions,
        ),
        RunApprovalRequested(
            approval_id=bound.approval_id,
            ask_kind=ask.kind,
            title=ask.title,
            detail=detail,
            options=ask.options,
            questions=questions,
            fingerprint=bound.fingerprint,
        ),
    )

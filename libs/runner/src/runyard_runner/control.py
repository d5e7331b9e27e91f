"""What others have to say about a running run: its lifecycle events, read as they come."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from runyard_events.catalogue import (
    TERMINAL_TYPES,
    RunApprovalResolved,
    RunCancelRequested,
    RunResumed,
    RunStarted,
    RunSteerRequested,
)
from runyard_events.log import EventLog
from runyard_events.stored import StoredEvent
from runyard_runner.adapter import Decision
from runyard_runner.state import decision_of

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Cancelled:
    """Somebody asked the run to stop."""

    requested_by: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Superseded:
    """The run is ended or held by somebody else."""


@dataclass(frozen=True, slots=True)
class TimeIsUp:
    """The run has used up its time."""


Interruption = Cancelled | Superseded | TimeIsUp


class Control:
    """Follows a run's lifecycle subject and hands on what concerns its runner."""

    def __init__(
        self,
        log: EventLog,
        subject: str,
        *,
        source: str,
        runner_id: str,
        answer: Callable[[str, Decision], Awaitable[None]],
        steer: Callable[[str], Awaitable[None]],
    ) -> None:
        self._log = log
        self._subject = subject
        self._source = source
        self._runner_id = runner_id
        self._answer = answer
        self._steer = steer
        self._interruption: asyncio.Future[Interruption] = asyncio.get_running_loop().create_future()

    @property
    def interrupted(self) -> asyncio.Future[Interruption]:
        """Done when the run has to stop."""
        return self._interruption

    def interrupt(self, why: Interruption) -> None:
        """Stop the run; only the first reason counts."""
        if not self._interruption.done():
            self._interruption.set_result(why)

    async def follow(self, from_seq: int) -> None:
        """Reads for ever, starting with the event at `from_seq` (the attempt's own start)."""
        async for stored in self._log.follow(self._subject, from_seq=from_seq):
            try:
                await self._act(stored)
            except Exception:
                # Whatever one event brings about, the next one may be the request to stop.
                logger.exception("control.failed", subject=self._subject, seq=stored.stream_seq)

    async def _act(self, stored: StoredEvent) -> None:
        event = stored.event
        match event.payload:
            case RunStarted(runner_id=who) | RunResumed(runner_id=who):
                if who != self._runner_id:
                    self.interrupt(Superseded())
            case RunCancelRequested(requested_by=who, reason=reason):
                self.interrupt(Cancelled(who, reason))
            case RunApprovalResolved() as resolved if event.source != self._source:
                await self._answer(resolved.approval_id, decision_of(resolved))
            case RunSteerRequested(text=text):
                await self._steer(text)
            case _ if event.type in TERMINAL_TYPES and event.source != self._source:
                self.interrupt(Superseded())
            case _:
                pass

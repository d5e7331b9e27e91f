"""What a container that is no client of NATS has to do: prompts, stops, words and answers for its runs.

Read off the lifecycles of its session's runs; a place in the log is the cursor.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

from runyard_events.catalogue import (
    TERMINAL_TYPES,
    RunApprovalResolved,
    RunCancelRequested,
    RunDispatched,
    RunRequested,
    RunSteerRequested,
)
from runyard_events.log import EventLog
from runyard_events.stored import StoredEvent
from runyard_events.subjects import run_subject
from runyard_events.tasks import end_tasks

Message = dict[str, Any]
OWN_SOURCE = "external."


class Inbox:
    """One session's. Runs that have ended call for nothing any more."""

    def __init__(self, log: EventLog, tenant_id: str, session_id: str) -> None:
        self._log = log
        self._tenant = tenant_id
        self._session = session_id
        self._subject = run_subject(tenant_id, session_id, "*", "lifecycle")

    async def read(self, after: int, *, wait_seconds: float, stopping: asyncio.Event) -> tuple[list[Message], int]:
        """What has come behind a place, and the place to ask from next time; waits for something to come.

        Raises:
            LogUnavailable: the log does not answer.
        """
        messages, place = await self._there(after)
        if not messages and wait_seconds > 0:
            async with aclosing(self.follow(place)) as coming:
                if (message := await _first(coming, wait_seconds, stopping)) is not None:
                    return [message], message["seq"]
        return messages, place

    async def follow(self, after: int) -> AsyncGenerator[Message]:
        """What there is behind a place, then what comes, for ever."""
        messages, place = await self._there(after)
        for message in messages:
            yield message
        async with aclosing(self._log.follow(self._subject, from_seq=place + 1)) as events:
            async for stored in events:
                message = await self._message(stored, ())
                if message is not None:
                    yield message

    async def _there(self, after: int) -> tuple[list[Message], int]:
        events = [stored async for stored in self._log.replay(self._subject, from_seq=after + 1)]
        begun = {one.run_id for one in (stored.event for stored in events) if isinstance(one.payload, RunDispatched)}
        ended = {one.run_id for one in (stored.event for stored in events) if one.type in TERMINAL_TYPES}
        found = [
            await self._message(stored, [str(run) for run in begun & ended])
            for stored in events
            if stored.event.type in TERMINAL_TYPES or stored.event.run_id not in ended
        ]
        place = events[-1].stream_seq if events else after
        return [message for message in found if message is not None], place

    async def _message(  # noqa: PLR0911 - one per event
        self, stored: StoredEvent, over: Sequence[str]
    ) -> Message | None:
        event = stored.event
        match event.payload:
            case RunDispatched(method="external"):
                return _as_message(stored, "prompt", await self._prompt(str(event.run_id)))
            case RunCancelRequested(requested_by=who, reason=reason):
                return _as_message(stored, "cancel", {"requested_by": who, "reason": reason})
            case RunSteerRequested(text=text):
                return _as_message(stored, "steer", {"text": text})
            case RunApprovalResolved() as answer:
                given = answer.model_dump(mode="json", include={"approval_id", "decision", "answers", "message"})
                return _as_message(stored, "approval", given)
            case _ if event.type in TERMINAL_TYPES:
                # By somebody else, and of a run that the container has been given before.
                if event.source.startswith(OWN_SOURCE) or event.run_id in over:
                    return None
                return _as_message(stored, "ended", {"type": event.type})
            case _:
                return None

    async def _prompt(self, run_id: str) -> dict[str, Any]:
        subject = run_subject(self._tenant, self._session, run_id, "lifecycle")
        async with aclosing(self._log.replay(subject)) as events:
            async for stored in events:
                if isinstance(asked := stored.event.payload, RunRequested):
                    wanted = {"prompt", "model", "approval_policy", "time_limit_seconds", "workspace_id"}
                    return asked.model_dump(mode="json", include=wanted)
        return {}


async def _first(coming: AsyncGenerator[Message], seconds: float, stopping: asyncio.Event) -> Message | None:
    """The next message; None where none comes in time, or before the service stops."""
    message, stop = asyncio.ensure_future(anext(coming)), asyncio.create_task(stopping.wait())
    try:
        done, _ = await asyncio.wait({message, stop}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        return message.result() if message in done else None
    finally:
        await end_tasks(message, stop)


def _as_message(stored: StoredEvent, name: str, payload: dict[str, Any]) -> Message:
    event = stored.event
    return {"id": event.id, "seq": stored.stream_seq, "type": name, "run_id": event.run_id, "payload": payload}

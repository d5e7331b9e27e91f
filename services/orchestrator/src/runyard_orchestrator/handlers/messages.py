"""`record-messages`: what a container says by HTTP or WebSocket becomes events of its session's run."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

from runyard_chassis import CommandServer, Problem, Unavailable
from runyard_events import Append, Command, Conflict, EventLog, Redactor, Reply, Scope, derived_id, stamp
from runyard_events.admission import admits
from runyard_events.catalogue import TERMINAL_TYPES, AnyPayload, RunResumed, RunStarted
from runyard_events.commands import RecordMessages
from runyard_orchestrator.adapters.told import TellTales, Told
from runyard_orchestrator.domain.facts import Refusal
from runyard_orchestrator.domain.messages import events_of, out_of_order
from runyard_orchestrator.handlers.commands import session_key
from runyard_orchestrator.handlers.desk import Desk
from runyard_orchestrator.handlers.refusals import refused
from runyard_orchestrator.store.reading import SessionKey

PROVIDER = "external"
_TRIES = 8


@dataclass(frozen=True, slots=True)
class _New:
    """A message that does not stand yet: its id, its events, and as whose they are written."""

    id: str
    payloads: Sequence[AnyPayload]
    source: str


class Messages:
    """The handler. One message after the other, for each run; a message that stands already is passed over."""

    def __init__(self, desk: Desk, log: EventLog, redactor: Redactor) -> None:
        self._desk = desk
        self._log = log
        self._redactor = redactor
        self._tales = TellTales(log)
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def register(self, server: CommandServer) -> None:
        """Makes the server hand its commands over."""
        server.on(RecordMessages)(self.record)

    async def record(self, command: Command[RecordMessages]) -> Reply:
        """Appends what is new, all or nothing.

        Raises:
            Problem: the token is of another container (401), there is no such run (404), the run is not told
            about by messages or is not there yet (409), a message is not right (422).
        """
        asked = command.payload
        key = session_key(command.tenant_id, asked.session_id)
        if not await admits(self._log, key.tenant_id, key.session_id, asked.epoch):
            raise Problem(401, "session-token-refused", detail="The token is not of the session's container.")
        run_id = asked.run_id or await self._active_run(key)
        session_key(command.tenant_id, asked.session_id, run_id)
        scope = Scope.run(key.tenant_id, key.session_id, run_id)
        async with self._turns.setdefault(scope.subject("ui"), asyncio.Lock()):
            return await self._recorded(scope, command)

    async def _recorded(self, scope: Scope, command: Command[RecordMessages]) -> Reply:
        for _ in range(_TRIES):
            told = await self._tales.of(scope)
            new = self._new(scope, told, command.payload.messages)
            seq = told.position
            if new:
                try:
                    seq = await self._log.append_all(self._stamped(scope, told, new, command))
                except Conflict:
                    continue
            return Reply(ok=True, result={"accepted": len(new), "run_id": scope.aggregate_id}, seq=seq or None)
        raise Unavailable("The run is changing too fast.", type="too-much-at-once")

    async def _active_run(self, key: SessionKey) -> str:
        await self._desk.catch_up(key, families=("lifecycle",))
        run_id = (await self._desk.rows.state(key)).session.active_run_id
        if run_id is None:
            raise Problem(409, "no-active-run", detail="The session has no run under way.")
        return run_id

    def _new(self, scope: Scope, told: Told, messages: Sequence[Mapping[str, Any]]) -> list[_New]:
        if not told.position:
            raise Problem(404, "run-not-found", detail="The session has no such run.")
        if told.method != "external":
            what = "waits for its turn" if told.method is None else "has a runner of our own"
            raise Problem(409, "run-not-external", detail=f"The run {what}.")
        attempt, is_ended = told.attempt, told.ended
        new: dict[str, _New] = {}
        for number, message in enumerate(messages):
            found = events_of(
                message,
                tenant_id=scope.tenant_id,
                session_id=str(scope.session_id),
                run_id=scope.aggregate_id,
                attempt=attempt + 1,
            )
            if isinstance(found, Refusal):
                raise _refused(found, number, message)
            identity = str(message["id"])
            if identity in new or _event_id(scope, identity, 0) in told.ids:
                continue
            last = found[-1]
            refusal = out_of_order(last, is_started=attempt > 0, is_ended=is_ended)
            if refusal is not None:
                raise _refused(refusal, number, message)
            if isinstance(last, RunStarted | RunResumed):
                attempt = last.attempt
            is_ended = last.TYPE in TERMINAL_TYPES
            new[identity] = _New(identity, found, f"{PROVIDER}.{max(attempt, 1)}")
        return list(new.values())

    def _stamped(self, scope: Scope, told: Told, new: Sequence[_New], command: Command[RecordMessages]) -> list[Append]:
        numbers = dict(told.numbers)
        guards = {family: told.places.get(family, 0) for family in ("lifecycle", "ui")}
        appends: list[Append] = []
        for message in new:
            for index, payload in enumerate(message.payloads):
                numbers[message.source] = numbers.get(message.source, 0) + 1
                event = stamp(
                    self._redactor.clean_payload(payload),
                    scope=scope,
                    source=message.source,
                    seq=numbers[message.source],
                    provider=PROVIDER,
                    causation_id=command.id,
                    correlation_id=command.correlation_id,
                    traceparent=command.traceparent,
                )
                event = event.model_copy(update={"id": _event_id(scope, message.id, index)})
                appends.append(Append(scope.subject(event.kind), event, guards.pop(event.kind, None)))
        return appends


def _event_id(scope: Scope, message_id: str, index: int) -> str:
    return derived_id(scope.aggregate_id, "message", index, message_id)


def _refused(refusal: Refusal, number: int, message: Mapping[str, Any]) -> Problem:
    identity = message.get("id")
    about = identity if isinstance(identity, str) else None
    return refused(refusal, message_number=number, message_id=about)

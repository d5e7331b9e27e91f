"""Writes what was decided: one atomic batch, each lifecycle guarded by what the decision had seen."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from runyard_events import Append, Conflict, Envelope, EventLog, Redactor, Scope, derived_id, stamp
from runyard_events.catalogue import RunRequested
from runyard_orchestrator.domain.facts import OWNER, Fact, Planned
from runyard_orchestrator.domain.state import State
from runyard_orchestrator.store.reading import SessionKey

_PROMPT_SEQ = 2
"""The number of the prompt's line in the transcript, the first one there."""


@dataclass(frozen=True, slots=True)
class Cause:
    """Why events are written: the command or event behind them, and the trace that they belong to."""

    id: str
    correlation_id: str | None = None
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class Written:
    """A batch that stands in the log."""

    state: State
    """The state that the batch was decided on, with the batch."""
    seq: int
    types: frozenset[str]
    ids: frozenset[str]
    places: dict[str, int]
    """The last event's place on each lifecycle subject."""


class Ledger:
    """The orchestrator's pen."""

    def __init__(self, log: EventLog, redactor: Redactor) -> None:
        self._log = log
        self._redactor = redactor

    async def write(self, key: SessionKey, state: State, planned: Sequence[Planned], cause: Cause) -> Written:
        """Appends all or nothing, if nothing else has been appended to these lifecycles since `state`.

        A run's first two events (its request and the prompt's line of the transcript) are written side by
        side instead: nobody else writes about a run that is not there yet, and it takes a fifth of the time.
        Should a crash fall between them, `restore` is called when the command comes again.

        Raises:
            Conflict: something has been.
            LogUnavailable: not known whether it was written; deciding again finds out.
        """
        appends = self._appends(key, state, [self._clean(one) for one in planned], cause)
        if isinstance(planned[0].payload, RunRequested):
            places = await self._first_words(appends)
        else:
            places = await self._log.append_placed(appends)
        placed = [(one, place) for one, place in zip(appends, places, strict=True) if one.event.kind == "lifecycle"]
        return Written(
            state=state.after((one.event.run_id, _fact(one.event, place)) for one, place in placed),
            seq=placed[-1][1],
            types=frozenset(one.event.type for one in appends),
            ids=frozenset(one.event.id for one in appends),
            places={one.subject: place for one, place in placed},
        )

    async def _first_words(self, appends: Sequence[Append]) -> list[int]:
        try:
            return await self._log.append_each(appends)
        except Conflict:
            # Whichever of the two it was: what counts is where the run's lifecycle stands.
            requested = appends[0]
            raise Conflict(requested.subject, requested.expect, await self._log.last(requested.subject)) from None

    async def restore(self, key: SessionKey, planned: Planned, cause: Cause) -> None:
        """Writes the prompt's line of a run's transcript if it is not there; the run may have begun meanwhile.

        Raises:
            LogUnavailable: the log did not answer.
        """
        scope = _scope(key, planned.run_id)
        event = _stamped(scope, self._clean(planned), _PROMPT_SEQ, State(), cause)
        subject = scope.subject(event.kind)
        async for stored in self._log.replay(subject):
            if (stored.event.source, stored.event.seq) == (OWNER, _PROMPT_SEQ):
                return
        await self._log.append(Append(subject, event))

    def _clean(self, planned: Planned) -> Planned:
        return replace(planned, payload=self._redactor.clean_payload(planned.payload))

    def _appends(self, key: SessionKey, state: State, planned: Sequence[Planned], cause: Cause) -> list[Append]:
        guarded: set[str] = set()
        appends: list[Append] = []
        for one, seq in _numbered(state, planned):
            scope = _scope(key, one.run_id)
            event = _stamped(scope, one, seq, state, cause)
            subject = scope.subject(event.kind)
            expect = None
            if subject not in guarded and (event.kind == "lifecycle" or seq == _PROMPT_SEQ):
                guarded.add(subject)
                expect = 0 if event.kind != "lifecycle" else _standing(state, one.run_id)
            appends.append(Append(subject, event, expect))
        return appends


def _standing(state: State, run_id: str | None) -> int:
    return state.run(run_id).stream_seq if run_id else state.session.stream_seq


def _numbered(state: State, planned: Sequence[Planned]) -> Iterator[tuple[Planned, int]]:
    """Each event with the number that its aggregate's count goes on with."""
    used: dict[str | None, int] = {None: state.session.own_seq}
    for one in planned:
        before = used[one.run_id] if one.run_id in used else state.run(one.run_id or "").own_seq
        used[one.run_id] = before + 1
        yield one, before + 1


def _stamped(scope: Scope, planned: Planned, seq: int, state: State, cause: Cause) -> Envelope:
    event = stamp(
        planned.payload,
        scope=scope,
        source=OWNER,
        seq=seq,
        provider=_provider(state, planned),
        causation_id=cause.id,
        correlation_id=cause.correlation_id,
        traceparent=cause.traceparent,
    )
    # Several replicas write as one source, so a number alone does not make an event: two of them may try
    # different events under one number, and only one is written. Cause and content tell them apart, and
    # a repeated try is still the same event.
    content = planned.payload.model_dump_json()
    return event.model_copy(update={"id": derived_id(scope.aggregate_id, OWNER, seq, cause.id, content)})


def _provider(state: State, planned: Planned) -> str | None:
    if planned.run_id is None:
        return None
    return state.run(planned.run_id).runner_type or state.session.runner_type or None


def _scope(key: SessionKey, run_id: str | None) -> Scope:
    if run_id is None:
        return Scope.session(key.tenant_id, key.session_id)
    return Scope.run(key.tenant_id, key.session_id, run_id)


def _fact(event: Envelope, stream_seq: int) -> Fact:
    return Fact(
        payload=event.payload,
        stream_seq=stream_seq,
        at=event.at,
        source=event.source,
        source_seq=event.seq,
        cause=event.causation_id,
    )

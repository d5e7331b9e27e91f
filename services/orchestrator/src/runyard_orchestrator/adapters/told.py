"""What the log has of a run that a container tells about by messages."""

from collections import OrderedDict
from dataclasses import dataclass, field

from runyard_events import EventLog, Scope
from runyard_events.catalogue import TERMINAL_TYPES, Method, RunDispatched, RunResumed, RunStarted
from runyard_events.stored import StoredEvent
from runyard_events.subjects import run_everything

_KEPT = 256


@dataclass(slots=True)
class Told:
    """A run's events as far as they have been read."""

    position: int = 0
    places: dict[str, int] = field(default_factory=dict[str, int])
    """The last event of each family."""
    numbers: dict[str, int] = field(default_factory=dict[str, int])
    """How many events each source has written."""
    ids: set[str] = field(default_factory=set[str])
    method: Method | None = None
    attempt: int = 0
    ended: bool = False

    def see(self, stored: StoredEvent) -> None:
        """Takes one more event in."""
        if stored.stream_seq <= self.position:
            return
        event = stored.event
        self.position = stored.stream_seq
        self.places[event.kind] = stored.stream_seq
        self.numbers[event.source] = max(event.seq, self.numbers.get(event.source, 0))
        self.ids.add(event.id)
        if isinstance(event.payload, RunDispatched):
            self.method = event.payload.method
        if isinstance(event.payload, RunStarted | RunResumed):
            self.attempt = event.payload.attempt
        self.ended = self.ended or event.type in TERMINAL_TYPES


class TellTales:
    """The latest few hundred of them. Always behind the log, never wrong: what is written is guarded."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._known: OrderedDict[str, Told] = OrderedDict()

    async def of(self, scope: Scope) -> Told:
        """A run as the log has it now.

        Raises:
            LogUnavailable: the log did not answer.
        """
        # By the whole subject: a session that names another one's run has no such run.
        subject = run_everything(scope.tenant_id, str(scope.session_id), scope.aggregate_id)
        told = self._known.setdefault(subject, Told())
        self._known.move_to_end(subject)
        while len(self._known) > _KEPT:
            self._known.popitem(last=False)
        async for stored in self._log.replay(subject, from_seq=told.position + 1):
            told.see(stored)
        if told.ended or not told.position:
            self._known.pop(subject, None)
        return told

"""What one client gets: the log from its place on, then whatever is appended, each event once and in order.

The subscription comes first, then the log is read up to its end, then the queue takes over, where
events that the log has given already are skipped. So nothing can fall between the two.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from runyard_events.catalogue import FAMILIES
from runyard_events.log import EventLog
from runyard_gateway.streaming.delivery import TELEMETRY, Delivery, delivery, said
from runyard_gateway.streaming.hub import Hub
from runyard_gateway.streaming.subscription import Subscription

MEASURED = frozenset({"session", "preview"})
"""Aggregates whose containers are measured."""


@dataclass(frozen=True, slots=True)
class Place:
    """An aggregate's subject without the family, and where to begin.

    `ends` are the types of lifecycle events after which nothing is to be waited for, `families` what
    the client wants to see (None: all but `telemetry`, of which there are many and few are read).
    """

    topic: str
    start: int
    ends: frozenset[str] = frozenset()
    families: frozenset[str] | None = None

    @property
    def subjects(self) -> Sequence[str]:
        """The filters that read this aggregate, and for a session all of its runs."""
        if self.has_telemetry or self.topic.split(".")[2] not in MEASURED:
            return (f"{self.topic}.>",)
        rest = tuple(f"{self.topic}.{family}" for family in FAMILIES if family != TELEMETRY)
        return (*rest, f"{self.topic}.run.>")

    @property
    def has_telemetry(self) -> bool:
        """Whether the client wants to see what is measured."""
        return self.families is not None and TELEMETRY in self.families

    def wants(self, one: Delivery) -> bool:
        """Whether the client wants to see this event."""
        return one.family != TELEMETRY if self.families is None else one.family in self.families

    def is_end(self, one: Delivery) -> bool:
        """Whether this event is the last that the client waits for; only lifecycle events are decoded."""
        return bool(self.ends) and one.family == "lifecycle" and said(one).get("type") in self.ends


class Source:
    """Replay and live events joined."""

    def __init__(self, log: EventLog, hub: Hub) -> None:
        self._log = log
        self._hub = hub

    async def has_ended(self, place: Place) -> bool:
        """Whether the aggregate's last event lies before the place where the client wants to go on."""
        last = await self._log.last(f"{place.topic}.lifecycle")
        return last is not None and last.stream_seq < place.start and place.is_end(delivery(last))

    def subscribe(self, place: Place) -> "Following":
        """A client's stream, to be used with `async with`."""
        return Following(self._log, self._hub, place)


class Following:
    """One client's way through the log."""

    def __init__(self, log: EventLog, hub: Hub, place: Place) -> None:
        self._log = log
        self._hub = hub
        self._place = place
        self._last = place.start - 1
        self._ended = False
        self._subscription: Subscription | None = None

    def close(self) -> None:
        """The client has gone: the stream ends at its next step."""
        if self._subscription is not None:
            self._subscription.close()

    async def batches(self, *, only_history: bool = False) -> AsyncGenerator[list[Delivery], None]:
        """Events in order; an empty list is a heartbeat. Ends with the aggregate, or when the client is cut.

        Raises:
            LogUnavailable: the log does not answer; the client comes back with its last id.
        """
        await self._hub.live.wait()
        with self._hub.subscribe(self._place.topic, telemetry=self._place.has_telemetry) as subscription:
            self._subscription = subscription
            async with aclosing(self._history(subscription)) as history:
                async for batch in history:
                    yield batch
            while not (self._ended or only_history or subscription.closed):
                taken = await subscription.take()
                if subscription.overflowed:
                    return
                if taken:
                    fresh = self._pass(taken)
                    if fresh:
                        yield fresh
                elif not subscription.closed:
                    yield []

    async def _history(self, subscription: Subscription) -> AsyncGenerator[list[Delivery], None]:
        """The log up to its end. A queue that overflows meanwhile only means one more round."""
        while True:
            subscription.recover()
            reader = self._log.reader(*self._place.subjects, from_seq=self._last + 1, inactive_seconds=2.0)
            try:
                async with aclosing(reader.batches()) as batches:
                    async for batch in batches:
                        fresh = self._pass([delivery(stored) for stored in batch])
                        if fresh:
                            yield fresh
                        if self._ended or subscription.closed:
                            return
                        if not reader.pending or self._is_covered(subscription):
                            break
            finally:
                await reader.close()
            if not subscription.overflowed:
                return

    def _is_covered(self, subscription: Subscription) -> bool:
        return subscription.oldest is not None and self._last >= subscription.oldest

    def _pass(self, batch: Sequence[Delivery]) -> list[Delivery]:
        """What of a batch the client has not had, up to the end, in the families that it wants."""
        fresh: list[Delivery] = []
        for one in batch:
            if one.seq <= self._last:
                continue
            self._last = one.seq
            if self._place.wants(one):
                fresh.append(one)
            if self._place.ends and self._place.is_end(one):
                self._ended = True
                break
        return fresh

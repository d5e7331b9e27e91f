"""The hub: one reader of the whole log per process, handing each event to those who follow its aggregate."""

import asyncio
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager

from runyard_chassis.logs import get_logger
from runyard_events.errors import LogUnavailable
from runyard_events.log import EventLog
from runyard_events.stored import StoredEvent
from runyard_gateway.streaming.delivery import Delivery
from runyard_gateway.streaming.subscription import Subscription

EVERYTHING = "ev.>"
_log = get_logger(__name__)


class Hub:
    """Routes live events by the subject without its family: `ev.<tenant>.session.<id>[.run.<id>]`.

    A session's followers get the events of its runs too, followers of `ev.<tenant>` those of all its
    sessions. `position` is the last sequence seen, `last_of_state` and `last_of_run` the last ones that
    the state and the archive projection read.
    """

    def __init__(
        self,
        log: EventLog,
        *,
        is_state: Callable[[str, str], bool],
        heartbeat_seconds: float = 10,
        life_seconds: float = 600,
        queue_events: int = 4096,
        queue_bytes: int = 2 * 1024 * 1024,
    ) -> None:
        self._log = log
        self._is_state = is_state
        self._heartbeat_seconds = heartbeat_seconds
        self._life_seconds = life_seconds
        self._queue_events = queue_events
        self._queue_bytes = queue_bytes
        self._topics: dict[str, set[Subscription]] = {}
        self._everyone: set[Subscription] = set()
        self._teams = 0
        self._nobody = asyncio.Event()
        self._nobody.set()
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        self.live = asyncio.Event()
        """Set once every event from now on will be seen."""
        self.position = 0
        self.last_of_state = 0
        self.last_of_run = 0

    async def run(self) -> None:
        """Reads until cancelled."""
        clock = asyncio.create_task(self._clock(), name="hub-clock")
        try:
            while True:
                try:
                    await self._read()
                except LogUnavailable as error:
                    _log.warning("hub.waiting", error=str(error))
                    await asyncio.sleep(0.5)
        finally:
            clock.cancel()
            for subscription in self._everyone:
                subscription.close()

    @contextmanager
    def subscribe(self, topic: str, *, telemetry: bool = True) -> Generator[Subscription]:
        """A queue that gets every event of the topic from now on, what is measured only if asked for."""
        subscription = Subscription(
            max_events=self._queue_events,
            max_bytes=self._queue_bytes,
            deadline=asyncio.get_running_loop().time() + self._life_seconds,
            telemetry=telemetry,
        )
        is_team = topic.count(".") == 1
        self._teams += is_team
        self._topics.setdefault(topic, set()).add(subscription)
        self._everyone.add(subscription)
        self._nobody.clear()
        try:
            yield subscription
        finally:
            self._teams -= is_team
            self._everyone.discard(subscription)
            followers = self._topics[topic]
            followers.discard(subscription)
            if not followers:
                del self._topics[topic]
            if not self._everyone:
                self._nobody.set()

    @property
    def followers(self) -> int:
        """How many clients follow something now."""
        return len(self._everyone)

    async def deserted(self) -> None:
        """Waits until nobody follows anything."""
        await self._nobody.wait()

    async def reached(self, seq: int, *, seconds: float) -> bool:
        """Waits until everything up to this sequence has been seen; False when that takes longer."""
        if self.live.is_set() and self.position >= seq:
            return True
        passed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((seq, passed))
        try:
            async with asyncio.timeout(seconds):
                await passed
        except TimeoutError:
            return False
        finally:
            self._waiting = [one for one in self._waiting if one[1] is not passed]
        return True

    async def _read(self) -> None:
        reader = self._log.reader(EVERYTHING, from_seq=self.position + 1 if self.live.is_set() else None)
        try:
            async for batch in reader.batches():
                if batch:
                    self._route(batch)
                elif not self.live.is_set():
                    # The reader's first word: it stands at the log's end and sees whatever comes.
                    self.position = reader.position
                    self._tell()
                self.live.set()
        finally:
            await reader.close()

    def _route(self, batch: Sequence[StoredEvent]) -> None:
        woken: set[Subscription] = set()
        for stored in batch:
            aggregate, _, family = stored.subject.rpartition(".")
            if self._is_state(stored.subject, family):
                self.last_of_state = stored.stream_seq
            followers = self._topics.get(aggregate)
            session, is_run, _ = aggregate.partition(".run.")
            of_session = self._topics.get(session) if is_run else None
            of_team = self._topics.get(_team(session)) if self._teams else None
            if is_run:
                self.last_of_run = stored.stream_seq
            if followers or of_session or of_team:
                one = Delivery(stored.stream_seq, stored.subject, stored.data)
                for group in (followers, of_session, of_team):
                    for subscription in group or ():
                        subscription.offer(one)
                        woken.add(subscription)
        self.position = batch[-1].stream_seq
        for subscription in woken:
            subscription.wake()
        self._tell()

    def _tell(self) -> None:
        for seq, passed in self._waiting:
            if seq <= self.position and not passed.done():
                passed.set_result(None)

    async def _clock(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._heartbeat_seconds)
            for subscription in tuple(self._everyone):
                subscription.tick(loop.time())


def _team(aggregate: str) -> str:
    """The topic of the team that a session belongs to; nothing follows what is no session's."""
    head, is_session, _ = aggregate.partition(".session.")
    return head if is_session else ""

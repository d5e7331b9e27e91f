"""A client's bounded queue behind the hub."""

import asyncio

from runyard_gateway.streaming.delivery import TELEMETRY, Delivery


class Subscription:
    """What has arrived for one client and was not yet sent to it.

    When the queue is full it is emptied and `overflowed` says so: its reader takes up again from the
    log, where nothing is lost. `due` is set by the hub's clock when nothing has been sent for a
    heartbeat's time, `closed` when the client has gone or its time is over.
    """

    __slots__ = (
        "_bytes",
        "_max_bytes",
        "_max_events",
        "_queue",
        "_telemetry",
        "_wake",
        "active",
        "closed",
        "deadline",
        "due",
        "oldest",
        "overflowed",
    )

    def __init__(self, *, max_events: int, max_bytes: int, deadline: float, telemetry: bool = True) -> None:
        self._queue: list[Delivery] = []
        self._bytes = 0
        self._wake = asyncio.Event()
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._telemetry = telemetry
        self.deadline = deadline
        self.oldest: int | None = None
        """Sequence of the first event since the start or the last overflow: from there on nothing is missing."""
        self.active = False
        self.closed = False
        self.due = False
        self.overflowed = False

    def offer(self, one: Delivery) -> None:
        """Queues an event; `wake` follows when the batch is through."""
        if self.overflowed or self.closed or (one.family == TELEMETRY and not self._telemetry):
            return
        if self._queue and (len(self._queue) >= self._max_events or self._bytes >= self._max_bytes):
            self._queue = []
            self._bytes = 0
            self.oldest = None
            self.overflowed = True
            return
        if self.oldest is None:
            self.oldest = one.seq
        self._queue.append(one)
        self._bytes += len(one.data)

    def wake(self) -> None:
        """Lets the reader see what has changed."""
        self._wake.set()

    def close(self) -> None:
        """The client has gone, or its time is over."""
        self.closed = True
        self._wake.set()

    def tick(self, now: float) -> None:
        """One beat of the hub's clock."""
        if now >= self.deadline:
            self.close()
        elif self.active:
            self.active = False
        else:
            self.due = True
            self._wake.set()

    def recover(self) -> None:
        """Queues again after an overflow; the log has what was dropped."""
        self.overflowed = False

    async def take(self) -> list[Delivery]:
        """Everything queued; empty when a heartbeat is due, the queue overflowed or the client has gone."""
        while not (self._queue or self.due or self.overflowed or self.closed):
            self._wake.clear()
            await self._wake.wait()
        taken, self._queue = self._queue, []
        self._bytes = 0
        self.due = False
        self.active = True
        return taken

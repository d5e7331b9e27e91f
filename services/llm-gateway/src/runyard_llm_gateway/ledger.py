"""The ledger: every call becomes an event of its run, none is lost while this process lives.

Calls put their record into memory and go on; one task appends them to the log in the order in which they
came, many at a time. While the log is away the memory fills up, and then calls wait before they start.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from runyard_chassis import get_logger
from runyard_events import Append, EventError, EventLog, LogUnavailable, encode, stamp
from runyard_llm_gateway.domain import CallRecord, completed, known_cost, needs_price
from runyard_llm_gateway.pricing import PriceList

_log = get_logger(__name__)
_BATCH = 64
_RUNS_KEPT = 100_000
_YIELD_EVERY = 16


class LedgerBehind(Exception):
    """The event log has been away for so long that no further call can be taken on."""


@dataclass(slots=True)
class _Numbering:
    source: str
    seq: int = 0


class Numbers:
    """Numbers of events: contiguous from 1 per run and source.

    A run that is forgotten (the oldest of many) and comes back gets a new source, so no number is used twice.
    """

    def __init__(self, instance: str, kept: int = _RUNS_KEPT) -> None:
        self._instance = instance
        self._kept = kept
        self._generation = 0
        self._runs: OrderedDict[str, _Numbering] = OrderedDict()

    def next(self, run: str) -> tuple[str, int]:
        """The source and number of the next event of a run."""
        numbering = self._runs.get(run)
        if numbering is None:
            suffix = f".{self._generation}" if self._generation else ""
            numbering = self._runs[run] = _Numbering(f"llm-gateway.{self._instance}{suffix}")
            if len(self._runs) > self._kept:
                self._runs.popitem(last=False)
                self._generation += 1
        else:
            self._runs.move_to_end(run)
        numbering.seq += 1
        return numbering.source, numbering.seq


class Ledger:
    """Records of calls on their way into the event log."""

    def __init__(self, *, instance: str, capacity: int, wait_seconds: float, prices: PriceList | None = None) -> None:
        self._places = asyncio.Semaphore(capacity)
        self._wait = wait_seconds
        self._prices = prices or PriceList()
        self._numbers = Numbers(instance)
        self._waiting: list[CallRecord] = []
        self._arrived = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self.unwritten: Sequence[Append] = ()

    async def place(self) -> None:
        """Takes a place for a call; `record` gives it back once the call's event is in the log.

        Raises:
            LedgerBehind: no place came free in time.
        """
        if not self._places.locked():
            await self._places.acquire()
            return
        try:
            async with asyncio.timeout(self._wait):
                await self._places.acquire()
        except TimeoutError:
            raise LedgerBehind from None

    def record(self, record: CallRecord) -> None:
        """Hands over a call that is over."""
        self._waiting.append(record)
        self._idle.clear()
        self._arrived.set()

    @property
    def backlog(self) -> int:
        """Calls that are over and not yet in the log."""
        return len(self._waiting) + len(self.unwritten)

    async def run(self, log: EventLog) -> None:
        """Appends until cancelled."""
        while True:
            if not self.unwritten:
                await self._arrived.wait()
                self._arrived.clear()
            while self.unwritten or self._waiting:
                self.unwritten = self.unwritten or await self._next_batch()
                await self._write(log)
            self._idle.set()

    async def flush(self, seconds: float) -> int:
        """Waits until all is written, so long as that; returns how many events are not.

        What is left is logged as it would have been appended, so that it can be put in later.
        """
        try:
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        except TimeoutError:
            left = [*self.unwritten, *await self._next_batch(limit=None)]
            for append in left:
                _log.error("ledger.unwritten", subject=append.subject, event_json=encode(append.event).decode())
            return len(left)
        return 0

    async def _next_batch(self, limit: int | None = _BATCH) -> list[Append]:
        records = list(islice(self._waiting, limit))
        costs: list[float | None] = []
        for number, record in enumerate(records):
            costs.append(await self._cost(record))
            if number % _YIELD_EVERY == _YIELD_EVERY - 1:
                await asyncio.sleep(0)  # requests go first
        # From here without a pause: numbers are given only to what is on its way.
        del self._waiting[: len(records)]
        return [self._stamped(record, cost) for record, cost in zip(records, costs, strict=True)]

    def _stamped(self, record: CallRecord, cost: float | None) -> Append:
        scope = record.scope
        source, seq = self._numbers.next(record.caller.run)
        event = stamp(
            completed(record, cost),
            scope=scope,
            source=source,
            seq=seq,
            at=record.at,
            traceparent=record.traceparent,
        )
        return Append(scope.subject(event.kind), event)

    async def _cost(self, record: CallRecord) -> float | None:
        if not needs_price(record):
            return known_cost(record)
        await self._prices.load()
        return self._prices.cost(record.provider, record.model, record.tokens)

    async def _write(self, log: EventLog) -> None:
        """Writes the stamped batch; returns only when it stands, or some of it after a delay."""
        batch = self.unwritten
        began = time.monotonic()
        try:
            await log.append_many(batch)
        except LogUnavailable:
            _log.warning("ledger.log_away", waiting=self.backlog)
            await asyncio.sleep(max(0.0, 0.5 - (time.monotonic() - began)))
            return
        except EventError as error:
            _log.warning("ledger.one_by_one", reason=str(error), events=len(batch))
            if not await self._write_singly(log, batch):
                return
        self.unwritten = ()
        for _ in batch:
            self._places.release()

    async def _write_singly(self, log: EventLog, batch: Sequence[Append]) -> bool:
        # A batch that stands already, in part or behind another writer's event: single appends are deduplicated.
        for append in batch:
            try:
                await log.append(append)
            except LogUnavailable:
                return False
            except EventError as error:
                _log.exception("ledger.refused", reason=str(error), event_json=encode(append.event).decode())
        return True

"""Writes what is gathered, one write at a time; whoever brings more than the log takes has to wait."""

import asyncio
import contextlib
from collections.abc import Iterable
from datetime import UTC, datetime

from runyard_events.catalogue import AnyPayload
from runyard_events.tasks import end_tasks
from runyard_runner.batching import Entry, Gathered
from runyard_runner.journal import Journal
from runyard_runner.outputs import Outputs

LINGER = 0.02
"""Seconds between two writes when only deltas wait: the design allows up to 0.05."""
WAITING = 500


class Publisher:
    """The writing side of a run's `ui` and `raw` families."""

    def __init__(self, journal: Journal, outputs: Outputs, gathered: Gathered, *, linger: float = LINGER) -> None:
        self._journal = journal
        self._outputs = outputs
        self._gathered = gathered
        self._linger = linger
        self._wanted = asyncio.Event()
        self._pressed = asyncio.Event()
        self._written = asyncio.Event()
        self._writing = False
        self._failure: BaseException | None = None
        self._task = asyncio.create_task(self._write())

    async def put(self, entries: Iterable[Entry]) -> None:
        """Hand over events; waits while too many are under way. Raises what broke the log for good."""
        for entry in entries:
            entry.payload = await self._outputs.fit(entry.payload)
            self._gathered.add(entry)
        self._wanted.set()
        if self._gathered.pressing:
            self._pressed.set()
        while len(self._gathered) > WAITING:
            await self._progress()
        self._check()

    async def say(self, *payloads: AnyPayload) -> None:
        """Hand over events of the runner's own, without a native line beside them."""
        now = datetime.now(UTC)
        await self.put([Entry(payload, now) for payload in payloads])

    async def flush(self) -> None:
        """Wait until everything that was handed over stands in the log."""
        while len(self._gathered) or self._writing:
            self._wanted.set()
            self._pressed.set()
            await self._progress()
        self._check()

    async def finish(self) -> None:
        """The same, with the ends of texts that were kept back as possible secrets."""
        self._gathered.entries = self._gathered.finish(datetime.now(UTC))
        await self.flush()

    async def close(self) -> None:
        """Stop writing; what was not flushed is dropped."""
        await end_tasks(self._task)

    async def _progress(self) -> None:
        self._check()
        self._written.clear()
        await self._written.wait()

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure

    async def _write(self) -> None:
        try:
            while True:
                await self._wanted.wait()
                self._wanted.clear()
                self._pressed.clear()
                if entries := self._gathered.take():
                    self._writing = True
                    await self._journal.write(entries)
                    self._writing = False
                self._written.set()
                await self._pause()
        except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to whoever brings events
            self._failure = error
            self._written.set()

    async def _pause(self) -> None:
        if not self._gathered.pressing:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._pressed.wait(), self._linger)

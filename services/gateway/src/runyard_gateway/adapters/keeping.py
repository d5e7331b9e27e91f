"""Large outputs that containers bring by HTTP, into the store that runners write to themselves."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.object_store import ObjectStore

from runyard_events.errors import LogUnavailable
from runyard_events.topology import OUTPUTS

AT_ONCE = 16
"""Outputs that are held in memory at a time. A container may bring as many as it likes: one after the other."""
SECONDS = 60.0
"""For one, from its first byte until it is kept: nobody holds a place by saying nothing."""


class OutputKeeper:
    """The bucket of outputs, for writing."""

    def __init__(self, client: Client) -> None:
        self._jetstream = client.jetstream()
        self._store: ObjectStore | None = None
        self._places = asyncio.Semaphore(AT_ONCE)
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def place(self, session_id: str) -> AsyncGenerator[None]:
        """A place for one output in memory, which is not to be read before: one for each session.

        Raises:
            TimeoutError: it was taken for too long.
        """
        async with self._turns.setdefault(session_id, asyncio.Lock()), self._places, asyncio.timeout(SECONDS):
            yield

    async def put(self, name: str, content: bytes) -> None:
        """Keeps an output under its name.

        Raises:
            LogUnavailable: the store does not answer.
        """
        try:
            if self._store is None:
                self._store = await self._jetstream.object_store(OUTPUTS)
            await self._store.put(name, content)
        except (NatsError, TimeoutError, OSError) as error:
            raise LogUnavailable(f"the object store does not answer: {error or 'time-out'}") from error

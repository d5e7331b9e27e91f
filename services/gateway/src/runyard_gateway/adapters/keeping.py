"""Large outputs that containers bring by HTTP, into the store that runners write to themselves."""

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.object_store import ObjectStore

from runyard_events.errors import LogUnavailable
from runyard_events.topology import OUTPUTS


class OutputKeeper:
    """The bucket of outputs, for writing."""

    def __init__(self, client: Client) -> None:
        self._jetstream = client.jetstream()
        self._store: ObjectStore | None = None

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

"""How far the log reaches: its first and last sequence."""

import json
import time
from dataclasses import dataclass
from typing import Any

from nats.aio.client import Client
from nats.errors import Error as NatsError

from runyard_events.errors import LogUnavailable
from runyard_events.topology import EVENTS


@dataclass(frozen=True, slots=True)
class Extent:
    """The first sequence that is still kept, and the last one that was given."""

    first: int
    last: int


class LogExtent:
    """Asks the server, unless it has just asked."""

    def __init__(self, client: Client, *, fresh_seconds: float = 1.0) -> None:
        self._client = client
        self._fresh_seconds = fresh_seconds
        self._known: Extent | None = None
        self._asked = 0.0

    async def now(self, *, reaching: int = 0) -> Extent:
        """The extent, asked anew when what is known is old or ends before `reaching`.

        Raises:
            LogUnavailable: the server does not answer.
        """
        known = self._known
        if known is None or known.last < reaching or time.monotonic() - self._asked > self._fresh_seconds:
            self._known = known = await self._ask()
            self._asked = time.monotonic()
        return known

    async def _ask(self) -> Extent:
        try:
            answer = await self._client.request(f"$JS.API.STREAM.INFO.{EVENTS}", b"", timeout=5)
        except (NatsError, TimeoutError) as error:
            raise LogUnavailable(f"the event log does not answer: {error or 'time-out'}") from error
        body: dict[str, Any] = json.loads(answer.data)
        if "state" not in body:
            raise LogUnavailable("the event log has no stream")
        return Extent(int(body["state"]["first_seq"]), int(body["state"]["last_seq"]))

"""Large tool outputs: whole in the object store, read piece by piece."""

import base64
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from nats.aio.client import Client
from nats.errors import Error as NatsError

from runyard_events.errors import LogUnavailable
from runyard_events.reader import Reader
from runyard_events.topology import OUTPUTS

_STREAM = f"OBJ_{OUTPUTS}"


@dataclass(frozen=True, slots=True)
class Output:
    """An object of the store: its size in bytes, the pieces it is kept in, and their subject."""

    size: int
    pieces: int
    subject: str


class Outputs:
    """The bucket that runners keep large outputs in."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def find(self, name: str) -> Output | None:
        """The object of this name.

        Raises:
            LogUnavailable: the server does not answer.
        """
        encoded = base64.urlsafe_b64encode(name.encode()).decode()
        subject = f"$JS.API.DIRECT.GET.{_STREAM}.$O.{OUTPUTS}.M.{encoded}"
        try:
            message = await self._client.request(subject, b"", timeout=5)
        except (NatsError, TimeoutError) as error:
            raise LogUnavailable(f"the object store does not answer: {error or 'time-out'}") from error
        if "Nats-Sequence" not in (message.headers or {}):
            return None
        body: dict[str, Any] = json.loads(message.data)
        if body.get("deleted"):
            return None
        return Output(int(body["size"]), int(body["chunks"]), f"$O.{OUTPUTS}.C.{body['nuid']}")

    async def read(self, output: Output) -> AsyncGenerator[bytes, None]:
        """Its bytes, in pieces as they are stored."""
        left = output.pieces
        if not left:
            return
        reader = Reader(self._client, _STREAM, [output.subject], from_seq=1, inactive_seconds=2)
        try:
            async with aclosing(reader.batches()) as batches:
                async for batch in batches:
                    for stored in batch:
                        yield stored.data
                    left -= len(batch)
                    if left <= 0 or not reader.pending:
                        return
        finally:
            await reader.close()

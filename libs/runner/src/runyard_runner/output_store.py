"""Where large outputs are kept: the bucket itself, or the gateway for a runner that may not touch the bucket."""

import asyncio
import urllib.error
import urllib.request
from http import HTTPStatus
from http.client import HTTPException
from typing import Protocol

from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.object_store import ObjectStore

from runyard_events.topology import OUTPUT_BYTES, OUTPUTS

TIMEOUT_SECONDS = 60
_REFUSALS = frozenset({400, 403, 405, 413, 415, 422})
"""Of the gateway, which would be the same another time."""


class Away(Exception):
    """The store does not answer; try again."""


class NotKept(Exception):
    """The store will not have this one, however often it is asked."""


class OutputStore(Protocol):
    """Keeps bytes under a name `<tenant>/<run>/<id>`, which is used for nothing else."""

    async def put(self, name: str, content: bytes) -> None:
        """Keeps them; they may be there already from a try whose answer got lost. Raises `Away`, `NotKept`."""
        ...


class BucketOutputs:
    """The bucket of outputs."""

    def __init__(self, jetstream: JetStreamContext) -> None:
        self._jetstream = jetstream
        self._store: ObjectStore | None = None

    async def put(self, name: str, content: bytes) -> None:
        """See `OutputStore`."""
        try:
            if self._store is None:
                self._store = await self._jetstream.object_store(OUTPUTS)
            await self._store.put(name, content)
        except (NatsError, TimeoutError, OSError) as error:
            raise Away from error


class GatewayOutputs:
    """By HTTP, with the session's token: a bucket cannot be divided by session."""

    def __init__(self, app_url: str, session_id: str, session_token: str) -> None:
        self._url = f"{app_url}/api/container-webhooks/{session_id}/outputs"
        self._token = session_token

    async def put(self, name: str, content: bytes) -> None:
        """See `OutputStore`."""
        if len(content) > OUTPUT_BYTES:
            raise NotKept(f"{len(content)} bytes are more than are kept")
        run_and_id = name.partition("/")[2]
        try:
            await asyncio.to_thread(self._put, run_and_id, content)
        except urllib.error.HTTPError as error:
            if error.code in _REFUSALS:
                raise NotKept(f"the gateway answers {error.code}") from error
            if error.code != HTTPStatus.CONFLICT:
                raise Away from error
        except (OSError, HTTPException) as error:
            raise Away from error

    def _put(self, path: str, content: bytes) -> None:
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/octet-stream"}
        request = urllib.request.Request(f"{self._url}/{path}", data=content, headers=headers, method="PUT")  # noqa: S310 - ours
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(request, timeout=TIMEOUT_SECONDS):
            return

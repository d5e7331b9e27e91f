"""The events of a run or an import, each once and in order, over as many connections as it takes."""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol, cast

import httpx

from runyard_stack.cli.api import ApiError
from runyard_stack.cli.sse import Message
from runyard_stack.errors import StackError

TERMINAL = frozenset({"run.completed", "run.error", "run.cancelled"})
RESTARTING = frozenset({502, 503, 504})
FIRST_WAIT_SECONDS = 0.2
LONGEST_WAIT_SECONDS = 5.0
GIVE_UP_SECONDS = 120.0


class Streams(Protocol):
    """What is needed of the API."""

    def stream(self, path: str, last_id: str | None) -> Iterator[Message]:
        """Server-sent events after `last_id`."""
        ...


def follow(
    api: Streams, path: str, ends: frozenset[str], on_lost: Callable[[], None] = lambda: None
) -> Iterator[dict[str, Any]]:
    """Every event up to one of `ends`; resumes after the last one seen when a connection drops.

    Raises:
        StackError: no connection for two minutes.
    """
    last: str | None = None
    wait = FIRST_WAIT_SECONDS
    alive = time.monotonic()
    while True:
        try:
            for message in api.stream(path, last):
                alive, wait = time.monotonic(), FIRST_WAIT_SECONDS
                last = message.id or last
                event = json.loads(message.data)
                if message.event != "message" or not isinstance(event, dict):
                    continue
                yield cast("dict[str, Any]", event)
                if event.get("type") in ends:  # pyright: ignore[reportUnknownMemberType]
                    return
        except httpx.TransportError as error:
            lost: Exception = error
        except ApiError as error:
            if error.status not in RESTARTING:
                raise
            lost = error
        else:
            # The gateway ends long streams by itself; the next one goes on where this one ended.
            time.sleep(wait if time.monotonic() - alive > 1 else 0)
            continue
        if time.monotonic() - alive > GIVE_UP_SECONDS:
            raise StackError(
                "The event stream is out of reach.", "`runyard replay` shows a run again once the API answers."
            ) from lost
        on_lost()
        time.sleep(wait)
        wait = min(wait * 2, LONGEST_WAIT_SECONDS)

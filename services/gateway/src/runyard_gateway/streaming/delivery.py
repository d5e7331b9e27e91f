"""An event on its way to clients."""

import json
from typing import Any, cast

from runyard_events.stored import StoredEvent

TELEMETRY = "telemetry"
"""The family of what is measured and printed: many events, that only who asks for them gets."""


class Delivery:
    """The place, subject and bytes of an event, and the SSE frame made of them, shared by all its receivers.

    The bytes may be anything: a container writes the events of its session itself.
    """

    __slots__ = ("data", "family", "frame", "seq", "subject")

    def __init__(self, seq: int, subject: str, data: bytes) -> None:
        self.seq = seq
        self.subject = subject
        self.family = subject.rpartition(".")[2]
        self.data = data
        self.frame = sse_frame(seq, data)


def delivery(stored: StoredEvent) -> Delivery:
    """The delivery of a stored event."""
    return Delivery(stored.stream_seq, stored.subject, stored.data)


def said(one: Delivery) -> dict[str, Any]:
    """The event as JSON; empty where the bytes are none."""
    try:
        found: Any = json.loads(one.data)
    except (ValueError, RecursionError):
        return {}
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


def sse_frame(seq: int, data: bytes) -> bytes:
    """One server-sent event. JSON needs no line breaks, so those that a foreign writer put in become spaces."""
    if b"\n" in data or b"\r" in data:
        data = data.replace(b"\n", b" ").replace(b"\r", b" ")
    return b"id: %d\ndata: %b\n\n" % (seq, data)


def ws_frame(one: Delivery) -> str:
    """One WebSocket message: `{"id": <stream seq>, "event": <envelope>}`."""
    return f'{{"id":{one.seq},"event":{one.data.decode("utf-8", "replace")}}}'

"""An event on its way to clients."""

from runyard_events.stored import StoredEvent

TELEMETRY = "telemetry"
"""The family of what is measured and printed: many events, that only who asks for them gets."""


class Delivery:
    """The place, family and bytes of an event, and the SSE frame made of them, shared by all its receivers."""

    __slots__ = ("data", "family", "frame", "seq")

    def __init__(self, seq: int, family: str, data: bytes) -> None:
        self.seq = seq
        self.family = family
        self.data = data
        self.frame = sse_frame(seq, data)


def delivery(stored: StoredEvent) -> Delivery:
    """The delivery of a stored event."""
    return Delivery(stored.stream_seq, stored.family, stored.data)


def sse_frame(seq: int, data: bytes) -> bytes:
    """One server-sent event. JSON needs no line breaks, so those that a foreign writer put in become spaces."""
    if b"\n" in data or b"\r" in data:
        data = data.replace(b"\n", b" ").replace(b"\r", b" ")
    return b"id: %d\ndata: %b\n\n" % (seq, data)


def ws_frame(one: Delivery) -> str:
    """One WebSocket message: `{"id": <stream seq>, "event": <envelope>}`."""
    return f'{{"id":{one.seq},"event":{one.data.decode("utf-8", "replace")}}}'

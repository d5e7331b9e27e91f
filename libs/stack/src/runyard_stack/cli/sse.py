"""Server-sent events out of the lines of a response."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Message:
    """One event of the stream; `id` is the place to resume from."""

    data: str
    id: str | None = None
    event: str = "message"


def messages(lines: Iterable[str]) -> Iterator[Message]:
    """Messages as their last line comes in; comments (heartbeats) are passed over.

    One that the connection cut off in the middle is not given: it comes again after the reconnect.
    """
    data: list[str] = []
    last_id: str | None = None
    name = "message"
    for line in lines:
        if not line:
            if data:
                yield Message("\n".join(data), last_id, name)
            data, name = [], "message"
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match field:
            case "data":
                data.append(value)
            case "id":
                last_id = value
            case "event":
                name = value
            case _:
                continue

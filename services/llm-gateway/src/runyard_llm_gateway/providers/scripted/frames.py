"""What an answer is made of on its way out, and what the four APIs have in common in writing it."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from runyard_llm_gateway.providers.base import ModelCall
from runyard_llm_gateway.providers.scripted.conversation import Conversation
from runyard_llm_gateway.providers.scripted.model import Failure, Reply


@dataclass(frozen=True, slots=True)
class Wait:
    """A pause between two frames, in milliseconds."""

    ms: float


@dataclass(frozen=True, slots=True)
class Snap:
    """The connection breaks here."""


Frame = bytes | Wait | Snap


class BadRequest(ValueError):
    """A body that the API would refuse."""


class Dialect(Protocol):
    """One API: how its requests are read and its answers written."""

    def read(self, call: ModelCall) -> Conversation:
        """The conversation in a request.

        Raises:
            BadRequest: something that the API needs is missing.
        """
        ...

    def frames(self, conversation: Conversation, reply: Reply) -> Iterator[Frame]:
        """A streamed answer."""
        ...

    def whole(self, conversation: Conversation, reply: Reply) -> dict[str, Any] | list[dict[str, Any]]:
        """The same answer in one piece."""
        ...

    def error(self, status: int, message: str) -> dict[str, Any]:
        """An error in the shape of the API."""
        ...


def compact(value: Any) -> str:
    """JSON without spaces."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def event(data: dict[str, Any]) -> bytes:
    """A named server-sent event; its name is the `type` of its data."""
    return f"event: {data['type']}\ndata: {compact(data)}\n\n".encode()


def paced(frames: Iterator[bytes], delay_ms: float) -> Iterator[Frame]:
    """Frames with a pause before each."""
    for frame in frames:
        if delay_ms:
            yield Wait(delay_ms)
        yield frame


def need_messages(body: dict[str, Any], key: str) -> list[Any]:
    """The list of messages of a request.

    Raises:
        BadRequest: there is none.
    """
    value: Any = body.get(key)
    if not isinstance(value, list) or not value:
        raise BadRequest(f"'{key}' must be a non-empty array")
    return value  # pyright: ignore[reportUnknownVariableType]


def failure_text(failure: Failure) -> str:
    """What an error inside a stream says."""
    return f"{failure.message} ({failure.status})"

"""The seam between the data plane and whatever answers a model call."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

Api = Literal["responses", "chat_completions", "messages", "count_tokens", "generate_content", "gemini_count_tokens"]
Headers = tuple[tuple[bytes, bytes], ...]


class Unreachable(Exception):
    """The provider gave no answer at all; `status` is what the caller is told (502 or 504)."""

    def __init__(self, message: str, *, status: int = 502) -> None:
        super().__init__(message)
        self.status = status


class StreamBroken(Exception):
    """The answer had begun and then stopped before its end."""


@dataclass(frozen=True, slots=True)
class ModelCall:
    """A call on its way to a provider. `body` is sent as it is; `parsed` is the same, read."""

    api: Api
    path: str
    body: bytes
    parsed: dict[str, Any]
    model: str
    stream: bool = False
    query: bytes = b""
    headers: Headers = ()
    method: str = "POST"


@dataclass(slots=True)
class Answer:
    """A provider's answer: the body is read once, in the pieces in which it comes.

    Reading raises StreamBroken when the answer ends before its end. `aclose` may be called at any
    time and drops the connection when the answer is not complete.
    """

    status: int
    headers: Headers
    body: AsyncIterator[bytes] = field(repr=False)

    @property
    def is_stream(self) -> bool:
        """Whether the body is a successful stream of server-sent events."""
        return self.status == 200 and any(  # noqa: PLR2004
            name == b"content-type" and value.startswith(b"text/event-stream") for name, value in self.headers
        )

    async def aclose(self) -> None:
        """Stops reading."""
        close = getattr(self.body, "aclose", None)
        if close is not None:
            await close()


class Provider(Protocol):
    """Something that answers model calls."""

    @property
    def name(self) -> str:
        """The name in prices and usage: openai, anthropic, scripted."""
        ...

    @property
    def scripted(self) -> bool:
        """Whether no model is behind it."""
        ...

    async def send(self, call: ModelCall) -> Answer:
        """Sends a call and returns when the answer's head is there.

        Raises:
            Unreachable: no answer within the limits of time and tries.
        """
        ...

    def scrub(self, body: bytes) -> bytes:
        """An error's body without the provider's key in it."""
        ...

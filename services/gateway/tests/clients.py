"""An SSE client that reads raw bytes, so that tests see what is really sent."""

import asyncio
from dataclasses import dataclass, field
from typing import Self


@dataclass
class Message:
    """One server-sent event; comments are messages without an id."""

    id: int | None = None
    event: str = "message"
    data: bytes = b""
    comment: str | None = None


@dataclass
class SseClient:
    """A connection to one stream."""

    host: str
    port: int
    path: str
    token: str
    headers: dict[str, str] = field(default_factory=dict[str, str])
    status: int = 0
    reader: asyncio.StreamReader = field(init=False)
    writer: asyncio.StreamWriter = field(init=False)

    async def __aenter__(self) -> Self:
        self.reader, self.writer = await asyncio.open_connection(self.host, self.port)
        lines = [
            f"GET {self.path} HTTP/1.1",
            f"Host: {self.host}",
            f"Authorization: Bearer {self.token}",
            *(f"{name}: {value}" for name, value in self.headers.items()),
        ]
        self.writer.write("\r\n".join([*lines, "", ""]).encode())
        head = await self.reader.readuntil(b"\r\n\r\n")
        self.status = int(head.split(b" ", 2)[1])
        self._buffer = b""
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()

    async def message(self) -> Message | None:
        """The next message or comment; None at the end of the stream."""
        while b"\n\n" not in self._buffer:
            size = int(await self.reader.readuntil(b"\r\n"), 16)
            if not size:
                return None
            self._buffer += (await self.reader.readexactly(size + 2))[:-2]
        block, _, self._buffer = self._buffer.partition(b"\n\n")
        message = Message()
        for line in block.split(b"\n"):
            name, _, value = line.partition(b": ")
            match name:
                case b"id":
                    message.id = int(value)
                case b"data":
                    message.data = value
                case b"event":
                    message.event = value.decode()
                case _:
                    message.comment = line[2:].decode()
        return message

    async def event(self) -> Message | None:
        """The next event; comments are passed over."""
        while (message := await self.message()) is not None:
            if message.comment is None:
                return message
        return None

    async def events(self) -> list[Message]:
        """All events to the end of the stream."""
        found: list[Message] = []
        while (message := await self.event()) is not None:
            found.append(message)
        return found

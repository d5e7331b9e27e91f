"""JSON-RPC, a message per line, over an agent's stdio, with a bounded record of both sides in order."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

from runyard_runner.adapter import AgentFailed, Direction
from runyard_runner.processes import Child, LineTooLong

Message = dict[str, Any]
INBOX = 1000
METHOD_NOT_FOUND = -32601
LAST_WORDS_SECONDS = 0.5


class RpcError(Exception):
    """The agent refused a request."""

    def __init__(self, method: str, error: Mapping[str, Any]) -> None:
        super().__init__(f"{method}: {error.get('message') or 'failed'}")


class Lines:
    """One agent's process. `marks` are added to what is sent: Droid wants more than JSON-RPC does.

    The record is bounded: when nobody reads it, the process is not read either.
    """

    def __init__(self, child: Child, marks: Mapping[str, Mapping[str, str]]) -> None:
        self.child = child
        self._marks = marks
        self._record: asyncio.Queue[tuple[Direction, Message] | None] = asyncio.Queue(INBOX)
        self._ids = itertools.count(1)
        self._writing = asyncio.Lock()
        self._reader = asyncio.create_task(self._read())
        self._watcher = asyncio.create_task(self._end_with_the_process())

    async def request(self, method: str, params: Mapping[str, Any], number: str | None = None) -> str:
        """Ask; the answer is in the record under the id that is returned."""
        number = number or f"r{next(self._ids)}"
        await self._send({**self._marks["request"], "id": number, "method": method, "params": dict(params)})
        return number

    async def notify(self, method: str, params: Mapping[str, Any]) -> None:
        """Say something that has no answer."""
        await self._send({**self._marks["notification"], "method": method, "params": dict(params)})

    async def respond(self, number: int | str, result: Mapping[str, Any]) -> None:
        """Answer one of the agent's own requests."""
        await self._send({**self._marks["response"], "id": number, "result": dict(result)})

    async def refuse(self, number: int | str) -> None:
        """Tell the agent that a request of its own is not served here."""
        error = {"code": METHOD_NOT_FOUND, "message": "not served by this client"}
        await self._send({**self._marks["response"], "id": number, "error": error})

    async def messages(self) -> AsyncIterator[tuple[Direction, Message]]:
        """The record from where it was last read, until the process ends."""
        while (entry := await self._record.get()) is not None:
            yield entry

    async def stop(self, *, grace: float) -> None:
        """End the process and everything it started."""
        await self.child.stop(grace=grace)
        self._watcher.cancel()
        self._reader.cancel()
        await asyncio.gather(self._watcher, self._reader, return_exceptions=True)

    async def _send(self, message: Message) -> None:
        if not self._record.full():  # only a turn that nobody reads fills it
            self._record.put_nowait(("sent", message))
        data = json.dumps(message, separators=(",", ":")).encode() + b"\n"
        try:
            async with self._writing:
                await self.child.write(data)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise AgentFailed("The agent's process has ended.") from error

    async def _end_with_the_process(self) -> None:
        """A command that outlives the agent may hold its output open, so its end would never be read."""
        await self.child.exited()
        await asyncio.wait({self._reader}, timeout=LAST_WORDS_SECONDS)
        self._reader.cancel()

    async def _read(self) -> None:
        try:
            async for line in self.child.lines():
                if (message := _decode(line)) is not None:
                    await self._record.put(("received", message))
        except LineTooLong:
            await self.child.stop(grace=1.0)
        finally:
            if self._record.full():
                self._record.get_nowait()
            self._record.put_nowait(None)


def _decode(line: bytes) -> Message | None:
    try:
        message: Any = json.loads(line)
    except ValueError:
        return None  # not of the protocol: a library's stray print
    return message if isinstance(message, dict) else None  # pyright: ignore[reportUnknownVariableType]

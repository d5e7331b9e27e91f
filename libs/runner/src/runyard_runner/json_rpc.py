"""JSON-RPC, a message per line, over an agent's stdio, with a record of both sides in order."""

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator, Mapping
from types import MappingProxyType
from typing import Any, Literal

from runyard_runner.adapter import AgentFailed, Direction
from runyard_runner.processes import Child, LineTooLong

Message = dict[str, Any]
Marks = Mapping[Literal["request", "notification", "response"], Mapping[str, str]]
"""What messages of each kind carry besides: some agents want more than others."""

NO_MARKS: Marks = MappingProxyType({"request": {}, "notification": {}, "response": {}})
INBOX = 1000
REQUEST_TIMEOUT = 30.0
METHOD_NOT_FOUND = -32601
LAST_WORDS_SECONDS = 0.5
ENDED = "The agent's process has ended."


class RpcError(Exception):
    """The agent refused a request."""

    def __init__(self, method: str, error: Mapping[str, Any]) -> None:
        super().__init__(f"{method}: {error.get('message') or 'failed'}")


class JsonRpc:
    """One agent's process and the record of all that is said to it and by it.

    The record is bounded: when nobody reads it, the process is not read either.
    """

    def __init__(self, child: Child, marks: Marks = NO_MARKS) -> None:
        self.child = child
        self._marks = marks
        self._record: asyncio.Queue[tuple[Direction, Message] | None] = asyncio.Queue(INBOX)
        self._waiting: dict[str, asyncio.Future[Message]] = {}
        self._ids = itertools.count(1)
        self._writing = asyncio.Lock()
        self._reader = asyncio.create_task(self._read())
        self._watcher = asyncio.create_task(self._end_with_the_process())

    @property
    def alive(self) -> bool:
        return self.child.alive and not self._reader.done()

    async def request(
        self, method: str, params: Mapping[str, Any] | None = None, *, limit: float = REQUEST_TIMEOUT
    ) -> Any:
        """Ask and wait for the answer.

        Raises:
            RpcError: refused.
            AgentFailed: the process has ended, or said nothing for `limit` seconds.
        """
        number = self._new_id()
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        try:
            await self.begin(method, params or {}, number)
            if self._reader.done():
                raise AgentFailed(ENDED)
            reply = await asyncio.wait_for(answer, limit)
        except TimeoutError:
            raise AgentFailed(f"The agent did not answer {method} within {limit:.0f} s.") from None
        finally:
            del self._waiting[number]
        if "error" in reply:
            raise RpcError(method, reply["error"])
        return reply.get("result")

    async def begin(self, method: str, params: Mapping[str, Any], number: str | None = None) -> str:
        """Ask without waiting; the answer is in the record, under the id that is returned."""
        number = number or self._new_id()
        await self._send({**self._marks["request"], "id": number, "method": method, "params": dict(params)})
        return number

    async def notify(self, method: str, params: Mapping[str, Any] | None = None) -> None:
        """Say something that has no answer."""
        message: Message = {**self._marks["notification"], "method": method}
        await self._send(message if params is None else {**message, "params": dict(params)})

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
        self._record.put_nowait(None)  # whoever asks next learns it too

    def forget(self) -> None:
        """Drop what nobody has read: it belongs to a turn that is over."""
        with contextlib.suppress(asyncio.QueueEmpty):
            while self._record.get_nowait() is not None:
                pass

    async def stop(self, *, grace: float = 3.0) -> None:
        """End the process and everything it started."""
        await self.child.stop(grace=grace)
        self._watcher.cancel()
        self._reader.cancel()
        await asyncio.gather(self._watcher, self._reader, return_exceptions=True)

    def _new_id(self) -> str:
        return f"r{next(self._ids)}"

    async def _send(self, message: Message) -> None:
        if not self._record.full():  # only a turn that nobody reads fills it
            self._record.put_nowait(("sent", message))
        data = json.dumps(message, separators=(",", ":")).encode() + b"\n"
        try:
            async with self._writing:
                await self.child.write(data)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise AgentFailed(ENDED) from error

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
                    self._answered(message)
        except LineTooLong:
            await self.child.stop(grace=1.0)
        finally:
            for answer in self._waiting.values():
                if not answer.done():
                    answer.set_exception(AgentFailed(ENDED))
            if self._record.full():
                self._record.get_nowait()
            self._record.put_nowait(None)

    def _answered(self, message: Message) -> None:
        answer = None if "method" in message else self._waiting.get(str(message.get("id")))
        if answer and not answer.done():
            answer.set_result(message)


def _decode(line: bytes) -> Message | None:
    try:
        message: Any = json.loads(line)
    except ValueError:
        return None  # not of the protocol: a library's stray print
    return message if isinstance(message, dict) else None  # pyright: ignore[reportUnknownVariableType]

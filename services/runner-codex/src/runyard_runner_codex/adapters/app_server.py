"""JSON-RPC over the stdio of `codex app-server`: requests, notifications and the agent's own requests."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

from runyard_runner.adapter import AgentFailed, Direction
from runyard_runner.processes import Child, LineTooLong

Message = dict[str, Any]
INBOX = 1000
REQUEST_TIMEOUT = 30.0
METHOD_NOT_FOUND = -32601
LAST_WORDS_SECONDS = 0.5


class RpcError(Exception):
    """The agent refused a request."""

    def __init__(self, method: str, error: Mapping[str, Any]) -> None:
        super().__init__(f"{method}: {error.get('message') or 'failed'}")
        self.code: int | None = error.get("code")


class AppServer:
    """One app-server process and the record of all that is said to it and by it, in order.

    The record is bounded: when nobody reads it, the process is not read either.
    """

    def __init__(self, child: Child) -> None:
        self.child = child
        self._record: asyncio.Queue[tuple[Direction, Message] | None] = asyncio.Queue(INBOX)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._ids = 0
        self._writing = asyncio.Lock()
        self._reader = asyncio.create_task(self._read())
        self._watcher = asyncio.create_task(self._end_with_the_process())

    @property
    def alive(self) -> bool:
        return self.child.alive and not self._reader.done()

    async def initialize(self, version: str) -> None:
        """The opening handshake. Raises `AgentFailed`."""
        await self.request(
            "initialize",
            {
                "clientInfo": {"name": "runyard", "title": "Runyard", "version": version},
                "capabilities": {"experimentalApi": True},
            },
        )
        await self._send({"method": "initialized"})

    async def request(
        self,
        method: str,
        params: Mapping[str, Any] | None = None,
        *,
        limit: float = REQUEST_TIMEOUT,
    ) -> Any:
        """Ask and wait for the answer.

        Raises:
            RpcError: refused.
            AgentFailed: the process has ended, or said nothing for `limit` seconds.
        """
        self._ids += 1
        number = self._ids
        answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        request = {"id": number, "method": method, "params": dict(params or {})}
        self._keep("sent", request)
        try:
            await self._send(request)
            if self._reader.done():
                raise AgentFailed("The Codex process has ended.")
            reply = await asyncio.wait_for(answer, limit)
        except TimeoutError:
            raise AgentFailed(f"Codex did not answer {method} within {limit:.0f} s.") from None
        finally:
            del self._waiting[number]
        if "error" in reply:
            raise RpcError(method, reply["error"])
        return reply.get("result")

    async def respond(self, number: int | str, result: Mapping[str, Any]) -> None:
        """Answer one of the agent's own requests."""
        message = {"id": number, "result": result}
        self._keep("sent", message)
        await self._send(message)

    async def refuse(self, number: int | str, reason: str) -> None:
        """Tell the agent that a request of its own is not served here."""
        message = {"id": number, "error": {"code": METHOD_NOT_FOUND, "message": reason}}
        self._keep("sent", message)
        await self._send(message)

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

    async def _send(self, message: Mapping[str, Any]) -> None:
        data = json.dumps(message, separators=(",", ":")).encode() + b"\n"
        try:
            async with self._writing:
                await self.child.write(data)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise AgentFailed("The Codex process has ended.") from error

    def _keep(self, direction: Direction, message: Message) -> None:
        if not self._record.full():  # only a turn that nobody reads fills it
            self._record.put_nowait((direction, message))

    async def _end_with_the_process(self) -> None:
        """A command that outlives the agent may hold its output open, so its end would never be read."""
        await self.child.exited()
        await asyncio.wait({self._reader}, timeout=LAST_WORDS_SECONDS)
        self._reader.cancel()

    async def _read(self) -> None:
        try:
            async for line in self.child.lines():
                message = _decode(line)
                if message is None:
                    continue
                await self._record.put(("received", message))
                if "method" not in message:
                    self._answered(message)
        except LineTooLong:
            await self.child.stop(grace=1.0)
        finally:
            for answer in self._waiting.values():
                if not answer.done():
                    answer.set_exception(AgentFailed("The Codex process has ended."))
            if self._record.full():
                self._record.get_nowait()
            self._record.put_nowait(None)

    def _answered(self, message: Message) -> None:
        answer = self._waiting.get(message.get("id", -1))
        if answer and not answer.done():
            answer.set_result(message)


def _decode(line: bytes) -> Message | None:
    try:
        message: Any = json.loads(line)
    except ValueError:
        return None  # not of the protocol: a library's stray print
    return message if isinstance(message, dict) else None  # pyright: ignore[reportUnknownVariableType]

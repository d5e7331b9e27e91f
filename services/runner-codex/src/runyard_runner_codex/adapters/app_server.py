"""JSON-RPC over the stdio of `codex app-server`: requests, notifications and the agent's own requests."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

from runyard_runner.adapter import AgentFailed
from runyard_runner.processes import Child, LineTooLong

Message = dict[str, Any]
INBOX = 1000
REQUEST_TIMEOUT = 30.0


class RpcError(Exception):
    """The agent refused a request."""

    def __init__(self, method: str, error: Mapping[str, Any]) -> None:
        super().__init__(f"{method}: {error.get('message') or 'failed'}")
        self.code: int | None = error.get("code")


class AppServer:
    """One app-server process. Everything it says arrives in `inbox`, in order, answers to requests excepted.

    The inbox is bounded: when nobody reads, the process is not read either.
    """

    def __init__(self, child: Child) -> None:
        self.child = child
        self._inbox: asyncio.Queue[Message | None] = asyncio.Queue(INBOX)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._ids = 0
        self._writing = asyncio.Lock()
        self._reader = asyncio.create_task(self._read())

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
        self, method: str, params: Mapping[str, Any] | None = None, *, limit: float = REQUEST_TIMEOUT
    ) -> Any:
        """Ask and wait for the answer. Raises `RpcError` (refused) and `AgentFailed` (gone, silent)."""
        self._ids += 1
        number = self._ids
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        try:
            await self._send({"id": number, "method": method, "params": params or {}})
            if self._reader.done():
                raise AgentFailed("the Codex process has ended")
            reply = await asyncio.wait_for(answer, limit)
        except TimeoutError:
            raise AgentFailed(f"Codex did not answer {method} within {limit:.0f} s") from None
        finally:
            del self._waiting[number]
        if "error" in reply:
            raise RpcError(method, reply["error"])
        return reply.get("result")

    async def respond(self, number: int | str, result: Mapping[str, Any]) -> None:
        """Answer one of the agent's own requests."""
        await self._send({"id": number, "result": result})

    async def refuse(self, number: int | str, message: str) -> None:
        """Tell the agent that a request of its own is not served here."""
        await self._send({"id": number, "error": {"code": -32601, "message": message}})

    async def messages(self) -> AsyncIterator[Message]:
        """Notifications and the agent's requests, until the process ends."""
        while (message := await self._inbox.get()) is not None:
            yield message
        self._inbox.put_nowait(None)  # whoever asks next learns it too

    def drain(self) -> list[Message]:
        """What has arrived and was not read yet, without waiting."""
        found: list[Message] = []
        with contextlib.suppress(asyncio.QueueEmpty):
            while (message := self._inbox.get_nowait()) is not None:
                found.append(message)
        return found

    async def stop(self, *, grace: float = 3.0) -> None:
        """End the process and everything it started."""
        await self.child.stop(grace=grace)
        self._reader.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._reader

    async def _send(self, message: Mapping[str, Any]) -> None:
        data = json.dumps(message, separators=(",", ":")).encode() + b"\n"
        try:
            async with self._writing:
                await self.child.write(data)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise AgentFailed("the Codex process has ended") from error

    async def _read(self) -> None:
        try:
            async for line in self.child.lines():
                message = _decode(line)
                if message is None:
                    continue
                if "method" in message:
                    await self._inbox.put(message)
                else:
                    self._answered(message)
        except LineTooLong:
            await self.child.stop(grace=1.0)
        finally:
            for answer in self._waiting.values():
                if not answer.done():
                    answer.set_exception(AgentFailed("the Codex process has ended"))
            if self._inbox.full():
                self._inbox.get_nowait()
            self._inbox.put_nowait(None)

    def _answered(self, message: Message) -> None:
        answer = self._waiting.get(message.get("id", -1))
        if answer and not answer.done():
            answer.set_result(message)


def _decode(line: bytes) -> Message | None:
    try:
        message: Any = json.loads(line)
    except ValueError:
        return None  # not of the protocol: a library's stray print
    return message if isinstance(message, dict) else None

"""A container's WebSocket: it is told what to do, and tells what happens."""

import asyncio
import json
from contextlib import aclosing, suppress
from typing import Any, cast

from pydantic import TypeAdapter, ValidationError
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from runyard_chassis import Invalid, Problem, Unavailable, get_logger
from runyard_chassis.auth import Container
from runyard_events.errors import LogUnavailable
from runyard_events.tasks import end_tasks
from runyard_gateway.api.fields import JsonObject
from runyard_gateway.containers_door import ContainersDoor

LONGEST_FRAME = 1024 * 1024
MOST_MESSAGES = 200
_OBJECT: TypeAdapter[dict[str, Any]] = TypeAdapter(JsonObject)
CHECK_SECONDS = 30.0
GOING_AWAY = 1001
REFUSED = 4401
_log = get_logger(__name__)


class ContainerSocket:
    """One connection, until either side ends it or the token is good no more."""

    def __init__(self, socket: WebSocket, door: ContainersDoor, container: Container) -> None:
        self._socket = socket
        self._door = door
        self._container = container
        self._sending = asyncio.Lock()

    async def serve(self, after: int, stopping: asyncio.Event) -> None:
        """Messages of the inbox behind `after` go out; what comes in is recorded and answered in its order."""
        tasks = {
            asyncio.create_task(work) for work in (self._tell(after), self._listen(), self._look(), _until(stopping))
        }
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                if (error := task.exception()) is not None and not isinstance(error, WebSocketDisconnect | Problem):
                    _log.warning("container_socket.failed", error=str(error))
                if isinstance(error, Problem):
                    await self._close(REFUSED, error.detail)
        finally:
            await end_tasks(*tasks)
            await self._close(GOING_AWAY, "resume with ?from=<last seq>")

    async def _tell(self, after: int) -> None:
        async with aclosing(self._door.inbox(self._container).follow(after)) as messages:
            async for message in messages:
                await self._send(message)

    async def _listen(self) -> None:
        while True:
            # Nothing is read from one who has said too much: it goes on by itself, and loses nothing.
            await asyncio.sleep(self._door.paces.owed(self._container.session))
            text = await self._socket.receive_text()
            await self._answer(_frame(text), len(text))
            self._door.paces.count(self._container.session, len(text), 0)

    async def _answer(self, frame: dict[str, Any], size: int) -> None:
        if frame.get("type") == "ping" and "id" not in frame:
            await self._send({"type": "pong"})
            return
        identity = frame.get("id")
        try:
            recorded = await self._record(frame, size)
        except LogUnavailable:
            await self._refuse(identity, Unavailable("The event log is away; say it again."))
        except Problem as problem:
            await self._refuse(identity, problem)
        else:
            await self._send({"type": "recorded", "id": identity, **recorded})

    async def _record(self, frame: dict[str, Any], size: int) -> dict[str, Any]:
        if size > LONGEST_FRAME or not frame:
            raise Invalid(f"A frame is a JSON object of at most {LONGEST_FRAME} characters.", type="frame-malformed")
        run_id, messages = frame.pop("run_id", None), frame.pop("messages", None)
        told: list[Any] = cast("list[Any]", messages) if isinstance(messages, list) else [frame]
        if len(told) > MOST_MESSAGES or not isinstance(run_id, str | None):
            raise Invalid(f"messages is a list of at most {MOST_MESSAGES}, run_id a text.", type="frame-malformed")
        try:
            told = [_OBJECT.validate_python(one) for one in told]
        except ValidationError:
            raise Invalid("A message is a JSON object of ordinary texts.", type="frame-malformed") from None
        return await self._door.record(self._container, tuple(told), run_id)

    async def _refuse(self, identity: Any, problem: Problem) -> None:
        about = {"status": problem.status, "type": problem.type, "detail": problem.detail, **problem.extra}
        await self._send({"type": "refused", "id": identity, "problem": about})

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            with suppress(LogUnavailable):
                await self._door.check(self._container)

    async def _send(self, message: dict[str, Any]) -> None:
        async with self._sending:
            await self._socket.send_text(json.dumps(message, ensure_ascii=False))

    async def _close(self, code: int, reason: str | None) -> None:
        if self._socket.application_state is WebSocketState.CONNECTED:
            with suppress(RuntimeError, WebSocketDisconnect):
                await self._socket.close(code, reason)


def _frame(text: str) -> dict[str, Any]:
    if len(text) > LONGEST_FRAME:
        return {}
    try:
        found: Any = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


async def _until(stopping: asyncio.Event) -> None:
    await stopping.wait()

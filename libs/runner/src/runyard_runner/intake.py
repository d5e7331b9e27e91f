"""Start commands from the work queue: as many at once as there are slots, each kept alive while it runs."""

import asyncio
import contextlib
from collections.abc import Coroutine
from dataclasses import dataclass

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js.client import JetStreamContext

from runyard_events.commands import StartInSandbox, StartRun, decode_command
from runyard_events.errors import LogUnavailable, Malformed
from runyard_events.tasks import end_tasks
from runyard_events.topology import COMMAND_ACK_WAIT_SECONDS, COMMANDS
from runyard_runner.attempt import Desk, Outcome, take

logger = structlog.get_logger(__name__)

PULL_SECONDS = 5.0
PROGRESS_SECONDS = COMMAND_ACK_WAIT_SECONDS / 3
RETRY_SECONDS = 5
CLEAN_UP_SECONDS = 5.0
"""What a run that is let go of needs at most to end its agent and to give its lease back."""


@dataclass(slots=True)
class _Running:
    message: Msg
    """The newest delivery of the command: the only one whose acknowledgement counts."""


class Intake:
    """Pulls start commands and runs them."""

    def __init__(self, client: Client, desk: Desk, *, durable: str | None = None) -> None:
        self._durable = durable or desk.service
        # A start that is meant for a container is none for whoever works beside the services.
        self._kind = StartRun if durable is None else StartInSandbox
        self._jetstream: JetStreamContext = client.jetstream()
        self._desk = desk
        self._slots = asyncio.Semaphore(desk.settings.runner_slots)
        self._running: dict[str, _Running] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.pulling = False

    @property
    def active(self) -> int:
        """Runs that are being worked on."""
        return len(self._running)

    async def run(self) -> None:
        """Takes commands until cancelled; then every run is let go of and its command given back at once."""
        try:
            await self._pull()
        finally:
            self.pulling = False
            await end_tasks(*self._tasks, patience=CLEAN_UP_SECONDS)

    async def _pull(self) -> None:
        subscription = await self._jetstream.pull_subscribe_bind(durable=self._durable, stream=COMMANDS)
        self.pulling = True
        try:
            while True:
                await self._slots.acquire()
                message = None
                try:
                    message = await self._next(subscription)
                finally:
                    if message is None:
                        self._slots.release()
                if message is not None:
                    task = asyncio.create_task(self._handle(message))
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)
        finally:
            with contextlib.suppress(NatsError):
                await subscription.unsubscribe()

    async def _next(self, subscription: JetStreamContext.PullSubscription) -> Msg | None:
        try:
            return (await subscription.fetch(1, timeout=PULL_SECONDS))[0]
        except TimeoutError:
            return None
        except NatsError as error:
            logger.warning("intake.unavailable", error=str(error))
            await asyncio.sleep(0.5)
            return None

    async def _handle(self, message: Msg) -> None:
        try:
            await self._work(message)
        finally:
            self._slots.release()

    async def _work(self, message: Msg) -> None:
        try:
            command = decode_command(message.data)
        except Malformed as error:
            logger.error("command.malformed", error=str(error))  # noqa: TRY400 - the text says it all
            await _settle(message.term())
            return
        if type(command.payload) is not self._kind:
            await _settle(message.term())
            return
        run_id = command.payload.run_id
        if run_id in self._running:
            self._running[run_id].message = message
            return
        running = self._running[run_id] = _Running(message)
        beating = asyncio.create_task(self._beat(running))
        outcome = None
        try:
            outcome = await take(self._desk, command)
        except LogUnavailable as error:
            logger.warning("run.postponed", run_id=run_id, error=str(error))
            outcome = Outcome.HELD
        except Exception:
            logger.exception("run.failed", run_id=run_id)
            outcome = Outcome.HELD
        finally:
            del self._running[run_id]
            await end_tasks(beating)
            await _settle(_answer(running.message, outcome))

    async def _beat(self, running: _Running) -> None:
        while True:
            await asyncio.sleep(PROGRESS_SECONDS)
            with contextlib.suppress(NatsError):
                await running.message.in_progress()


async def _answer(message: Msg, outcome: Outcome | None) -> None:
    match outcome:
        case Outcome.DONE:
            await message.ack()
        case Outcome.POISON:
            await message.term()
        case Outcome.HELD:
            await message.nak(delay=RETRY_SECONDS)
        case None:
            await message.nak()


async def _settle(answer: Coroutine[None, None, None]) -> None:
    """An acknowledgement that does not get through only means that the command comes again."""
    with contextlib.suppress(NatsError, TimeoutError, OSError):
        async with asyncio.timeout(2):
            await answer

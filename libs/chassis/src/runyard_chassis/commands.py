"""Carries out a service's commands: FastStream on the durable consumer that runyard_events.topology declares.

A handler gets a decoded command and returns its Reply once the command's events stand in the log. It may be
called twice for one command (a reply lost, a process killed), so it decides from the log, not from memory.

| what happens | what becomes of the command |
|---|---|
| the handler returns | reply, ack |
| it raises a Problem | reply with the problem, ack: the command was refused |
| it raises anything else | again later, growing delays; after the last delivery a 500 reply and the dead letters |
| the bytes are no command of this service | dead letters at once |
| the service stops | 10 s to finish, then back into the queue for the next process |
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

from runyard_chassis import tracing
from runyard_chassis.logs import get_logger, log_context
from runyard_chassis.problems import InternalError, Problem
from runyard_chassis.replies import refusal
from runyard_chassis.settings import ServiceSettings
from runyard_events.commands import Command, CommandPayload, Reply, decode_command
from runyard_events.connection import inbox_prefix
from runyard_events.dead_letters import bury
from runyard_events.errors import LogUnavailable, Malformed
from runyard_events.redact import Redactor
from runyard_events.topology import COMMANDS

if TYPE_CHECKING:
    from faststream.nats import NatsBroker
    from faststream.nats.message import NatsMessage

P = TypeVar("P", bound=CommandPayload)


class Handler(Protocol[P]):
    """Carries out one type of command; its Reply goes to the sender, None is a plain `ok`."""

    def __call__(self, command: Command[P], /) -> Awaitable[Reply | None]:
        """Decides, appends, and says what came of it."""
        ...


GRACEFUL_SECONDS = 10
RETRY_DELAYS = (0.1, 0.5, 2.0, 5.0, 10.0)
_FETCH_SECONDS = 2.0
_CONNECT_SECONDS = 30
_log = get_logger(__name__)


class CommandServer:
    """Serves `cmd.<service>.>`; register handlers with `on`, then use it as an async context in the lifespan."""

    def __init__(self, settings: ServiceSettings, service: str, *, concurrency: int = 16) -> None:
        self._settings = settings
        self.service = service
        self._handlers: dict[str, Handler[Any]] = {}
        self._slots = asyncio.Semaphore(concurrency)
        self._waiting = concurrency * 4
        self._broker: NatsBroker | None = None
        self._max_deliver = -1
        self._ack_wait = 15.0

    def on(self, payload: type[P]) -> Callable[[Handler[P]], Handler[P]]:
        """Registers the handler of a command type: `server.on(CreateSession)(handlers.create_session)`."""

        def register(handler: Handler[P]) -> Handler[P]:
            if payload.TYPE in self._handlers:
                raise ValueError(f"{payload.TYPE} has a handler already")
            self._handlers[payload.TYPE] = handler
            return handler

        return register

    async def start(self) -> None:
        """Connects and begins to take commands.

        Raises:
            LogUnavailable: NATS does not answer.
            RuntimeError: the consumer is not declared (`ensure_topology` has not run on this server).
        """
        from faststream import AckPolicy  # noqa: PLC0415  # most of a second to import
        from faststream.nats import JStream, NatsBroker, PullSub  # noqa: PLC0415

        broker = self._broker = NatsBroker(graceful_timeout=GRACEFUL_SECONDS, **self._connection())
        subscriber = broker.subscriber(
            f"cmd.{self.service}.>",
            durable=self.service,
            stream=JStream(COMMANDS, declare=False),
            # One at a time from the server: what waits here is waited for by nobody else.
            pull_sub=PullSub(batch_size=1, timeout=_FETCH_SECONDS),
            max_workers=self._waiting,
            ack_policy=AckPolicy.NACK_ON_ERROR,
            inbox_prefix=f"{inbox_prefix(self.service)}.".encode(),
            decoder=_undecoded,
            # Replies go where the command says, from our own code.
            no_reply=True,
        )
        subscriber(self._on_message)
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                await broker.connect()
        except TimeoutError as error:
            raise LogUnavailable(f"NATS does not answer within {_CONNECT_SECONDS} s") from error
        await self._read_consumer(broker)
        await broker.start()

    async def stop(self) -> None:
        """Takes no more commands and gives running handlers 10 s; what is not done by then is queued again."""
        if self._broker is not None:
            await self._broker.stop()
            self._broker = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def run(self) -> None:
        """Serves until cancelled."""
        async with self:
            await asyncio.Event().wait()

    async def check(self) -> bool:
        """A readiness check: connected to NATS."""
        return self._broker is not None and await self._broker.ping(timeout=1)

    def _connection(self) -> dict[str, Any]:
        from faststream.security import SASLPlaintext  # noqa: PLC0415

        settings = self._settings
        security = None
        if settings.nats_user:
            password = settings.nats_password.get_secret_value() if settings.nats_password else ""
            security = SASLPlaintext(username=settings.nats_user, password=password)
        return {
            "servers": settings.nats_url,
            "name": f"runyard-{self.service}-commands",
            "inbox_prefix": inbox_prefix(self.service),
            "security": security,
            "max_reconnect_attempts": -1,
            "reconnect_time_wait": 0.25,
            "logger": None,
            # Types are ours: FastStream's own injection costs a thread hop per message.
            "apply_types": False,
        }

    async def _read_consumer(self, broker: "NatsBroker") -> None:
        from nats.js.errors import NotFoundError  # noqa: PLC0415

        try:
            info = await broker.connection.jetstream().consumer_info(COMMANDS, self.service)
        except NotFoundError as error:
            await broker.stop()
            raise RuntimeError(f"NATS has no consumer {self.service} on {COMMANDS}: run ensure_topology()") from error
        self._max_deliver = info.config.max_deliver or -1
        self._ack_wait = info.config.ack_wait or self._ack_wait

    async def _on_message(self, message: "NatsMessage") -> None:
        async with self._kept_alive(message), self._slots:
            try:
                command = decode_command(message.body)
                handler = self._handler_for(command)
            except Malformed as error:
                await self._bury(message, str(error))
                return
            with (
                log_context(
                    command=command.type,
                    command_id=command.id,
                    tenant_id=command.tenant_id,
                    session_id=getattr(command.payload, "session_id", None),
                    run_id=getattr(command.payload, "run_id", None),
                    workspace_id=getattr(command.payload, "workspace_id", None),
                ),
                tracing.span(command.type, kind="consumer", parent=command.traceparent, command_id=command.id),
            ):
                await self._carry_out(message, command, handler)

    def _handler_for(self, command: Command[Any]) -> Handler[Any]:
        handler = self._handlers.get(command.type)
        if handler is None:
            raise Malformed(f"{self.service} does not handle {command.type}")
        return handler

    async def _carry_out(self, message: "NatsMessage", command: Command[Any], handler: Handler[Any]) -> None:
        try:
            reply = await handler(command) or Reply(ok=True)
        except Problem as problem:
            _log.info("command.refused", problem=problem.type, status=problem.status, detail=problem.detail)
            reply = refusal(problem)
        except asyncio.CancelledError:
            # Stopping: another process may take it up now instead of when the ack wait is over.
            await message.nack()
            raise
        except Exception:  # noqa: BLE001  # whatever it is, the command is tried again and the log has it
            await self._failed(message, command)
            return
        await self._reply(command, reply)

    async def _failed(self, message: "NatsMessage", command: Command[Any]) -> None:
        from faststream.exceptions import NackMessage  # noqa: PLC0415

        delivery = message.raw_message.metadata.num_delivered
        is_last = 0 < self._max_deliver <= delivery
        _log.exception("command.failed", delivery=delivery, last=is_last)
        if not is_last:
            raise NackMessage(delay=RETRY_DELAYS[min(delivery, len(RETRY_DELAYS)) - 1])
        await self._reply(command, refusal(InternalError("The command could not be carried out.")))
        await self._bury(message, f"failed {delivery} times")

    async def _reply(self, command: Command[Any], reply: Reply) -> None:
        if command.reply_to and self._broker is not None:
            await self._broker.connection.publish(command.reply_to, reply.model_dump_json().encode())

    async def _bury(self, message: "NatsMessage", reason: str) -> None:
        """Into the dead letters with its content, then out of the queue, which forgets it."""
        from faststream.exceptions import RejectMessage  # noqa: PLC0415

        raw = message.raw_message
        _log.error("command.dead", reason=reason, subject=raw.subject)
        if self._broker is not None:
            await bury(
                self._broker.connection,
                consumer=self.service,
                stream=COMMANDS,
                stream_seq=raw.metadata.sequence.stream,
                subject=raw.subject,
                reason=reason,
                content=Redactor().clean(raw.data.decode(errors="replace")),
            )
        raise RejectMessage

    @asynccontextmanager
    async def _kept_alive(self, message: "NatsMessage") -> AsyncGenerator[None]:
        """Tells the server that a long command (a clone) is still being worked on."""

        async def tell() -> None:
            while True:
                await asyncio.sleep(self._ack_wait / 3)
                await message.in_progress()

        teller = asyncio.create_task(tell())
        try:
            yield
        finally:
            teller.cancel()


async def _undecoded(message: "NatsMessage") -> "NatsMessage":
    """Hands the message itself to the handler: it needs the bytes and the delivery count."""
    return message

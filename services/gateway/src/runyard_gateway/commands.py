"""Writes: a command to the owner, its answer, and the gateway's own rows that show it."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

from runyard_chassis import raise_for_problem, tracing
from runyard_chassis.auth import Caller
from runyard_chassis.problems import TimedOut, Unavailable
from runyard_events.commands import Command, CommandBus, CommandPayload, Reply, command
from runyard_events.errors import CommandTimeout, EventError, LogUnavailable
from runyard_gateway.consistency import Consistency

SEQ_HEADER = "X-Runyard-Seq"


@dataclass(frozen=True, slots=True)
class Written:
    """What a command came to: its result and the sequence of its last event."""

    result: dict[str, Any]
    seq: int | None

    def mark(self, response: Response) -> None:
        """Tells the client the sequence, for `min_seq` of later reads."""
        if self.seq is not None:
            response.headers[SEQ_HEADER] = str(self.seq)


class Commands:
    """Sends commands in a caller's name."""

    def __init__(self, bus: CommandBus, consistency: Consistency, *, timeout_seconds: float) -> None:
        self._bus = bus
        self._consistency = consistency
        self._timeout = timeout_seconds

    async def carry_out(
        self, caller: Caller, payload: CommandPayload, *, timeout_seconds: float | None = None
    ) -> Written:
        """Sends a command and returns when its events can be read here.

        Raises:
            Problem: what the owner refused it with, 503 or 504 when the answer is not known.
        """
        reply = await self.ask(caller, payload, timeout_seconds=timeout_seconds)
        return await self.shown(raise_for_problem(reply))

    async def answered(
        self, caller: Caller, payload: CommandPayload, *, timeout_seconds: float | None = None
    ) -> Written:
        """Sends a command whose events no row here shows, and returns what came of it.

        Raises:
            Problem: as `carry_out`.
        """
        reply = raise_for_problem(await self.ask(caller, payload, timeout_seconds=timeout_seconds))
        return Written(reply.result, reply.seq)

    async def ask(self, caller: Caller, payload: CommandPayload, *, timeout_seconds: float | None = None) -> Reply:
        """Sends a command and returns the owner's answer.

        Raises:
            Problem: 503 or 504, the answer is not known.
        """
        one: Command[Any] = command(
            payload,
            tenant_id=caller.tenant,
            actor=caller.user,
            traceparent=tracing.traceparent(),
        )
        try:
            return await self._bus.request(one, timeout=timeout_seconds or self._timeout)
        except CommandTimeout as error:
            raise TimedOut(
                "The command is queued but was not answered in time; it may still be carried out.",
                type="command-timeout",
            ) from error
        except (LogUnavailable, EventError) as error:
            raise Unavailable("The command queue does not answer.", type="commands-unavailable") from error

    async def shown(self, reply: Reply) -> Written:
        """Waits until what a reply tells can be read here.

        Raises:
            Problem: 503, it is done but the projection is behind.
        """
        if reply.seq is not None:
            await self._consistency.shows(reply.seq)
        return Written(reply.result, reply.seq)


def request_hash(body: Any) -> str:
    """A fingerprint of a request's body, by which a key used again for something else is noticed."""
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()

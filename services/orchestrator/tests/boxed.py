"""The runner inside a container of the memory engine: a real NATS client on its session's own consumer."""

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from runyard_events import Conflict, EventLog, Leases, Scope, Writer
from runyard_events.catalogue import (
    TERMINAL_TYPES,
    RunCompleted,
    RunResumed,
    RunStarted,
    UiRunCompleted,
    UiRunStarted,
)
from runyard_events.commands import StartRun, decode_command
from runyard_events.leases import BUCKET
from runyard_events.topology import COMMANDS, sandbox_durable
from runyard_sandbox import Spec


@dataclass
class BoxedRunner:
    """What runs in each container. A run ends when the test lets it; the end of the container gives it back."""

    client: Client
    log: EventLog
    holds: bool = False
    """Whether runs wait for `let_go`."""
    starts: list[StartRun] = field(default_factory=list[StartRun])
    _go: dict[str, asyncio.Event] = field(default_factory=dict[str, asyncio.Event])

    def let_go(self, run_id: str) -> None:
        self._gate(run_id).set()

    async def main(self, spec: Spec) -> None:
        session_id = spec.env["SESSION_ID"]
        durable = sandbox_durable(session_id)
        subscription = await self.client.jetstream().pull_subscribe_bind(durable=durable, stream=COMMANDS)
        try:
            while not self.client.is_closed:
                try:
                    messages = await subscription.fetch(1, timeout=5)
                except TimeoutError:
                    continue
                except NatsError:
                    await asyncio.sleep(0.2)
                    continue
                for message in messages:
                    await self._one(spec, message)
        finally:
            with contextlib.suppress(NatsError):
                await subscription.unsubscribe()

    async def _one(self, spec: Spec, message: Msg) -> None:
        command = decode_command(message.data)
        asked: Any = command.payload
        self.starts.append(asked)
        scope = Scope.run(command.tenant_id, asked.session_id, asked.run_id)
        done = False
        leases = Leases(await self.client.jetstream().key_value(BUCKET))
        lease = await leases.acquire(f"{asked.session_id}.{asked.run_id}", spec.name)
        try:
            if lease is not None:
                await self._work(scope, asked)
                done = True
        finally:
            with contextlib.suppress(NatsError):
                await (message.ack() if done else message.nak(delay=0.2))
            if lease is not None:
                await leases.release(lease)

    async def _work(self, scope: Scope, asked: StartRun) -> None:
        events = [one async for one in self.log.replay(scope.subject("lifecycle"))]
        if not events or events[-1].event.type in TERMINAL_TYPES:
            return
        attempt = 1 + sum(1 for one in events if one.event.type in ("run.started", "run.resumed"))
        native = asked.native_thread_id or f"native-{asked.session_id}"
        writer = Writer(self.log, scope=scope, source=f"runner-codex.{attempt}", provider="codex")
        if attempt == 1:
            begun = RunStarted(runner_id="boxed", attempt=1, native_thread_id=native)
            await writer.append_all([UiRunStarted(session_id=asked.session_id), begun])
        else:
            await writer.append_all([RunResumed(runner_id="boxed", attempt=attempt, reason="restart")])
        if self.holds:
            await self._gate(asked.run_id).wait()
        while (stands := await self.log.last(scope.subject("lifecycle"))) and stands.event.type not in TERMINAL_TYPES:
            with contextlib.suppress(Conflict):  # somebody has written since: as a real runner, it looks again
                await writer.append_all([UiRunCompleted(), RunCompleted()], expect={"lifecycle": stands.stream_seq})

    def _gate(self, run_id: str) -> asyncio.Event:
        return self._go.setdefault(run_id, asyncio.Event())

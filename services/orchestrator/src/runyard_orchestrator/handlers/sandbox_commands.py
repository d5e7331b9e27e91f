"""`control-sandbox` and `set-sandbox-rules`: what people decide about containers."""

import asyncio
from typing import Any

from runyard_chassis import CommandServer, Unavailable
from runyard_events import Command, Conflict, Reply, Scope
from runyard_events.commands import ControlSandbox, SetSandboxRules
from runyard_events.subjects import parse
from runyard_orchestrator.adapters.ledger import Cause
from runyard_orchestrator.adapters.sandbox_ledger import SandboxLedger
from runyard_orchestrator.domain.controls import change_rules, control
from runyard_orchestrator.domain.facts import Refusal
from runyard_orchestrator.domain.rules import Installation, rules_of
from runyard_orchestrator.domain.sandbox import Sandbox, SandboxStatus
from runyard_orchestrator.handlers.commands import session_key
from runyard_orchestrator.handlers.desk import Desk
from runyard_orchestrator.handlers.refusals import refused
from runyard_orchestrator.handlers.sandboxes import situation_of
from runyard_orchestrator.store.reading import SessionKey
from runyard_orchestrator.store.reading_sandboxes import SandboxRows

_TRIES = 8
_CATCH_UP_SECONDS = 5.0
_UNDER_WAY: frozenset[SandboxStatus] = frozenset({"requested", "creating"})


class SandboxCommands:
    """Handlers, one per command."""

    def __init__(
        self,
        desk: Desk,
        rows: SandboxRows,
        ledger: SandboxLedger,
        *,
        installation: Installation,
        wait_seconds: float = 10,
    ) -> None:
        self._desk = desk
        self._rows = rows
        self._ledger = ledger
        self._installation = installation
        self._wait = wait_seconds

    def register(self, server: CommandServer) -> None:
        """Makes the server hand its commands over."""
        server.on(ControlSandbox)(self.control)
        server.on(SetSandboxRules)(self.set_rules)

    async def control(self, command: Command[ControlSandbox]) -> Reply:
        """Records a person's wish; whoever looks after the sandboxes brings it about.

        Answers at once with where things stand; a container that was asked for is waited for a little.

        Raises:
            Problem: the session or its container does not allow it.
        """
        key = session_key(command.tenant_id, command.payload.session_id)
        sandbox = await self._recorded(key, command)
        if command.payload.action in ("create", "start"):
            sandbox = await self._settled(key, sandbox)
        return Reply(ok=True, result=_shown(key, sandbox), seq=sandbox.stream_seq or None)

    async def set_rules(self, command: Command[SetSandboxRules]) -> Reply:
        """Keeps a team's rules; they hold from the next run on.

        Raises:
            Problem: the installation does not let a team have them.
        """
        tenant, wanted = command.tenant_id, command.payload.rules
        for _ in range(_TRIES):
            known, place, number = await self._ledger.rules(tenant)
            planned = change_rules(self._installation, known, wanted, command.actor)
            if isinstance(planned, Refusal):
                raise refused(planned)
            try:
                for payload in planned:
                    place = await self._ledger.write_rules(tenant, payload, _cause(command), place=place, number=number)
            except Conflict:
                continue
            await self._reach(Scope.team(tenant).subject("lifecycle"), place)
            rules = rules_of(self._installation, wanted)
            effective: dict[str, Any] = {
                "enabled": rules.enabled,
                "process_fallback": rules.process_fallback,
                "egress": list(rules.egress),
                "idle_stop_seconds": rules.idle_stop_seconds,
                "runtime": rules.runtime,
                "method": self._installation.method if rules.enabled else "process",
            }
            result = {"rules": wanted.model_dump(mode="json"), "effective": effective}
            return Reply(ok=True, result=result, seq=place or None)
        raise Unavailable("The rules are changing too fast to decide about them.", type="too-much-at-once")

    async def _recorded(self, key: SessionKey, command: Command[ControlSandbox]) -> Sandbox:
        looked: set[str | None] = set()
        for _ in range(_TRIES):
            state, sandbox = await self._desk.rows.state(key), await self._rows.sandbox(key)
            at = situation_of(key, state, sandbox, self._installation)
            wish = control(at, command.payload.action, command.actor)
            active = state.session.active_run_id
            if (isinstance(wish, Refusal) or not wish) and active not in looked:
                # A no, and that it is so already, is looked at again with rows that are as new as the log.
                await self._desk.catch_up(key, families=("lifecycle", "sandbox"), run_id=active)
                looked.add(active)
                continue
            if isinstance(wish, Refusal):
                raise refused(wish)
            try:
                for payload in wish:
                    sandbox = await self._ledger.write(key, sandbox, payload, _cause(command))
            except Conflict as conflict:
                if conflict.last is not None:
                    await self._reach(conflict.subject, conflict.last.stream_seq)
                continue
            if wish:
                await self._reach(Scope.session(key.tenant_id, key.session_id).subject("sandbox"), sandbox.stream_seq)
            return sandbox
        raise Unavailable("The sandbox is changing too fast to decide about it.", type="too-much-at-once")

    async def _settled(self, key: SessionKey, sandbox: Sandbox) -> Sandbox:
        """The sandbox once it is neither asked for nor being made, or as it is when that takes long."""
        with self._desk.projections.watching(key) as changed:
            try:
                async with asyncio.timeout(self._wait):
                    while sandbox.status in _UNDER_WAY:
                        changed.clear()
                        sandbox = await self._rows.sandbox(key)
                        if sandbox.status in _UNDER_WAY:
                            await changed.wait()
            except TimeoutError:
                pass
        return sandbox

    async def _reach(self, subject: str, place: int) -> None:
        if place and not await self._desk.projections.reached(parse(subject), place, timeout=_CATCH_UP_SECONDS):
            raise Unavailable("The orchestrator's view of the log is behind.", type="projection-behind")


def _shown(key: SessionKey, sandbox: Sandbox) -> dict[str, Any]:
    return {
        "session_id": key.session_id,
        "status": sandbox.status,
        "epoch": sandbox.epoch,
        "method": sandbox.method,
        "container_name": sandbox.name,
        "reason": sandbox.reason,
        "message": sandbox.message,
    }


def _cause(command: Command[Any]) -> Cause:
    return Cause(command.id, command.correlation_id, command.traceparent)

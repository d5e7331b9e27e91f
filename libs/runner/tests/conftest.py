"""A desk with a stub agent on the real embedded log, and what the orchestrator would do around it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client
from runyard_chassis.auth import LLM_AUDIENCE, Tokens
from runyard_events.catalogue import AnyPayload, RunDispatched, RunRequested
from runyard_events.commands import Command, StartRun, command
from runyard_events.envelope import Envelope
from runyard_events.ids import new_id
from runyard_events.leases import BUCKET, Leases
from runyard_events.log import EventLog
from runyard_events.redact import Redactor
from runyard_events.subjects import Scope
from runyard_events.writer import Writer

from runyard_runner.attempt import Desk
from runyard_runner.settings import RunnerSettings
from runyard_runner.testing import Say, Script, StubAgent

KEY = "k" * 40


@dataclass
class Bench:
    """One runner process and the orchestrator's side of the log."""

    client: Client
    desk: Desk
    agent: StubAgent
    tenant: str
    session: str
    folder: Path
    writers: dict[str, Writer] = field(default_factory=dict[str, Writer])

    async def request(self, prompt: str = "do it", **changes: Any) -> Command[StartRun]:
        """A run as the orchestrator leaves it: requested and dispatched."""
        order = StartRun(
            session_id=self.session,
            run_id=new_id(),
            workspace_id="w",
            runner_type="stub",
            prompt=prompt,
            thread_id="thread",
            working_directory=str(self.folder / "workspaces"),
        ).model_copy(update=changes)
        await self.orchestrate(order.run_id, RunRequested(prompt=prompt, workspace_id="w", runner_type="stub"))
        await self.orchestrate(order.run_id, RunDispatched(runner_type="stub"))
        return command(order, tenant_id=self.tenant)

    async def orchestrate(self, run_id: str, payload: AnyPayload) -> None:
        if run_id not in self.writers:
            self.writers[run_id] = Writer(self.desk.log, scope=self.scope(run_id), source="orchestrator")
        await self.writers[run_id].append(payload)

    def scope(self, run_id: str) -> Scope:
        return Scope.run(self.tenant, self.session, run_id)

    async def events(self, run_id: str) -> list[Envelope]:
        subject = f"ev.{self.tenant}.session.{self.session}.run.{run_id}.>"
        return [stored.event async for stored in self.desk.log.replay(subject)]

    async def until(self, run_id: str, wanted: Callable[[Envelope], bool]) -> Envelope:
        subject = f"ev.{self.tenant}.session.{self.session}.run.{run_id}.>"
        async for stored in self.desk.log.follow(subject, from_seq=1):
            if wanted(stored.event):
                return stored.event
        raise AssertionError("the log ended")


MakeBench = Callable[..., Awaitable[Bench]]


@pytest.fixture
async def bench(nats_client: Client, tenant: str, tmp_path: Path) -> MakeBench:
    session = new_id()

    async def make(script: Script = lambda _: [Say()], **changes: Any) -> Bench:
        (tmp_path / "workspaces").mkdir(exist_ok=True)
        settings = RunnerSettings.model_validate(
            {
                "workspaces_root": tmp_path / "workspaces",
                "agents_root": tmp_path / "agents",
                "run_token_key": KEY,
                "interrupt_grace_seconds": 0.5,
                **changes,
            }
        )
        jetstream = nats_client.jetstream()
        agent = StubAgent(script)
        desk = Desk(
            service="runner-codex",
            runner_id=new_id(),
            agent=agent,
            log=EventLog(nats_client),
            leases=Leases(await jetstream.key_value(BUCKET)),
            jetstream=jetstream,
            settings=settings,
            run_tokens=Tokens(KEY, LLM_AUDIENCE),
            redactor=Redactor.for_secrets(["canary-secret-0123456789"], "salt"),
        )
        return Bench(nats_client, desk, agent, tenant, session, tmp_path)

    return make



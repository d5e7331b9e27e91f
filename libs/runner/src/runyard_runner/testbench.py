"""A runner's desk on a real log, and around it what the orchestrator would do. For tests of agents."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nats.aio.client import Client

from runyard_chassis.auth import LLM_AUDIENCE, Tokens
from runyard_events.catalogue import AnyPayload, RunDispatched, RunRequested
from runyard_events.commands import Command, StartRun, command
from runyard_events.envelope import Envelope
from runyard_events.ids import new_id
from runyard_events.leases import BUCKET, Leases
from runyard_events.log import EventLog
from runyard_events.redact import Redactor
from runyard_events.subjects import Scope, run_everything
from runyard_events.writer import Writer
from runyard_runner.adapter import Agent
from runyard_runner.attempt import Desk, take
from runyard_runner.output_store import BucketOutputs
from runyard_runner.run_tokens import MintedRunTokens
from runyard_runner.settings import RunnerSettings
from runyard_runner.testing import StubAgent

KEY = "k" * 40
CANARY = "canary-secret-0123456789"


@dataclass
class Bench:
    """One runner process and the orchestrator's side of the log."""

    client: Client
    desk: Desk
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
            working_directory=str(self.folder),
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
        subject = run_everything(self.tenant, self.session, run_id)
        return [stored.event async for stored in self.desk.log.replay(subject)]

    async def until(self, run_id: str, wanted: Callable[[Envelope], bool]) -> Envelope:
        subject = run_everything(self.tenant, self.session, run_id)
        async for stored in self.desk.log.follow(subject, from_seq=1):
            if wanted(stored.event):
                return stored.event
        raise AssertionError("the log ended")

    async def run(self, prompt: str, **changes: Any) -> list[Envelope]:
        """A whole run, from request to end; its events."""
        order = await self.request(prompt, **changes)
        await take(self.desk, order)
        return await self.events(order.payload.run_id)


MakeBench = Callable[..., Awaitable[Bench]]
"""What tests call their fixture for: a bench with settings changed by keyword."""


def script(*steps: dict[str, Any]) -> str:
    """A prompt that makes the scripted model take these steps."""
    return f"[[script: {json.dumps({'steps': steps})}]]"


def stub(made: Bench) -> StubAgent:
    """The bench's agent, when it is the scripted one."""
    assert isinstance(made.desk.agent, StubAgent)  # noqa: S101 - a test's own mistake
    return made.desk.agent


async def make_bench(
    client: Client, agent: Agent, settings: RunnerSettings, *, tenant: str, service: str = "runner-codex"
) -> Bench:
    """A bench for one session, whose files are in a folder of its own under the workspaces."""
    session = new_id()
    folder = settings.workspaces_root / session
    folder.mkdir(parents=True)
    jetstream = client.jetstream()
    desk = Desk(
        service=service,
        runner_id=new_id(),
        agent=agent,
        log=EventLog(client),
        leases=Leases(await jetstream.key_value(BUCKET)),
        outputs=BucketOutputs(jetstream),
        settings=settings,
        run_tokens=MintedRunTokens(Tokens(KEY, LLM_AUDIENCE)),
        redactor=Redactor.for_secrets([CANARY], "salt"),
    )
    return Bench(client, desk, tenant, session, folder)

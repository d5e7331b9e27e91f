"""A runner as a service: the same for every agent."""

import asyncio
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import structlog
from fastapi import FastAPI
from nats.aio.client import Client

from runyard_chassis import LLM_AUDIENCE, Service, Tokens, connect_service, create_app, derive_key
from runyard_events.commands import CommandBus
from runyard_events.ids import new_id
from runyard_events.leases import BUCKET, Leases
from runyard_events.log import EventLog
from runyard_events.redact import Redactor
from runyard_events.tasks import end_tasks
from runyard_runner.adapter import Agent
from runyard_runner.api import Direct, router
from runyard_runner.attempt import Desk
from runyard_runner.intake import CLEAN_UP_SECONDS, Intake
from runyard_runner.output_store import BucketOutputs
from runyard_runner.processes import reap_orphans
from runyard_runner.run_tokens import MintedRunTokens
from runyard_runner.settings import RunnerSettings

logger = structlog.get_logger(__name__)


class _Running:
    """What exists while the service runs."""

    client: Client | None = None
    intake: Intake | None = None

    async def connected(self) -> bool:
        return self.client is not None and self.client.is_connected

    async def pulling(self) -> bool:
        return self.intake is not None and self.intake.pulling


def build_runner(
    name: str,
    runner_type: str,
    settings: RunnerSettings,
    agent: Agent,
    *,
    prepare: Callable[[], Awaitable[None]] | None = None,
) -> Service:
    """The service `name` that takes runs of `runner_type` from the queue and gives them to `agent`.

    `prepare` is called once it has started, beside its work.
    """
    running = _Running()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        async with AsyncExitStack() as stack:
            settings.agents_root.mkdir(parents=True, exist_ok=True, mode=0o700)
            if reaped := await reap_orphans(settings.agents_root):
                logger.warning("orphans.reaped", processes=reaped)
            running.client = client = await connect_service(name, settings)
            stack.push_async_callback(client.close)
            stack.push_async_callback(agent.close)
            desk = await make_desk(name, settings, agent, client)
            app.state.direct = Direct(
                runner_type=runner_type,
                bus=CommandBus(client),
                log=desk.log,
                workspaces_root=settings.workspaces_root,
                stream_heartbeat_seconds=settings.stream_heartbeat_seconds,
            )
            running.intake = intake = Intake(client, desk)
            task = asyncio.create_task(intake.run())
            stack.push_async_callback(_stopped, task)
            if prepare is not None:
                stack.push_async_callback(_stopped, asyncio.ensure_future(prepare()))
            yield

    app = create_app(
        name,
        settings=settings,
        ready={"nats": running.connected, "intake": running.pulling},
        lifespan=lifespan,
        description="Runs an agent on sessions' worktrees; what it does is in the event log.",
    )
    app.include_router(router)
    return Service(name, app, settings.host, settings.port, settings.shutdown_grace_seconds)


async def make_desk(name: str, settings: RunnerSettings, agent: Agent, client: Client) -> Desk:
    """What this process's attempts at runs work with."""
    jetstream = client.jetstream()
    run_key = settings.run_token_key.get_secret_value() or derive_key(settings.jwt_secret_key, "run")
    prints = (one.strip() for one in settings.redaction_fingerprints.split(","))
    return Desk(
        service=name,
        runner_id=f"{socket.gethostname()}-{new_id()}",
        agent=agent,
        log=EventLog(client),
        leases=Leases(await jetstream.key_value(BUCKET)),
        outputs=BucketOutputs(jetstream),
        settings=settings,
        run_tokens=MintedRunTokens(Tokens(run_key, LLM_AUDIENCE)),
        redactor=Redactor(settings.redaction_salt.get_secret_value(), frozenset(one for one in prints if one)),
    )


async def _stopped(task: asyncio.Future[None]) -> None:
    await end_tasks(task, patience=CLEAN_UP_SECONDS + 2)

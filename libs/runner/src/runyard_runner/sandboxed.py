"""The runner inside a session's own container: the same run loop, with a token for that session and nothing else.

It takes this session's runs from a queue of their own, has no HTTP API and no database, and ends when it is
told to or when its token is not taken any more.
"""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import structlog
from nats.aio.client import Client
from nats.js.kv import KeyValue

from runyard_chassis.logs import configure_logging
from runyard_chassis.settings import load_settings
from runyard_events.commands import StartRun
from runyard_events.connection import connect
from runyard_events.errors import LogUnavailable
from runyard_events.ids import new_id
from runyard_events.leases import BUCKET, Leases
from runyard_events.session_log import SessionLog
from runyard_events.tasks import end_tasks
from runyard_events.topology import sandbox_durable
from runyard_runner.adapter import Agent
from runyard_runner.attempt import Desk
from runyard_runner.intake import CLEAN_UP_SECONDS, Intake
from runyard_runner.output_store import GatewayOutputs
from runyard_runner.processes import reap_orphans
from runyard_runner.pulse import beat
from runyard_runner.run_tokens import ExchangedRunTokens
from runyard_runner.settings import RunnerSettings
from runyard_runner.standing import Standing

logger = structlog.get_logger(__name__)

S = TypeVar("S", bound=RunnerSettings)
CONNECT_SECONDS = 120.0
"""How long a container waits to be let in before it gives up; whoever made it then sees that it ended."""
REFUSED = 77
"""Exit code: the session has ended, or another container has taken its place."""


def is_in_container(environment: Mapping[str, str]) -> bool:
    """Whether this process was given a session of its own."""
    return bool(environment.get("SESSION_ID") and environment.get("SESSION_TOKEN"))


def run_in_container(name: str, settings_class: type[S], make_agent: Callable[[S], Agent]) -> None:
    """`python -m runyard_runner_x` in a container: until SIGTERM, or until the log refuses us.

    Args:
        name: of the service that this is one of: the source of its events.
        settings_class: read from the environment, as outside.
        make_agent: the agent that runs are given to.
    """
    settings = load_settings(settings_class)
    workspace = Path(os.environ["WORKSPACE_PATH"])
    settings = settings.model_copy(update={"workspaces_root": workspace, "runner_slots": 1})
    configure_logging(settings.log_level, format=settings.log_format, redactor=settings.redactor)
    session = _Session(os.environ["SESSION_ID"], os.environ["SESSION_TOKEN"], os.environ["MAIN_APP_URL"])
    with asyncio.Runner(loop_factory=_loop) as runner:
        outcome = runner.run(_until_signal(_Box(name, settings, session, make_agent(settings))))
    sys.exit(outcome)


def lease_key(order: StartRun) -> str:
    """The key of a run's lease: it begins with the session, by which permissions divide the bucket."""
    return f"{order.session_id}.{order.run_id}"


class _Session:
    def __init__(self, session_id: str, token: str, app_url: str) -> None:
        self.id = session_id
        self.token = token
        self.app_url = app_url


class _Box:
    def __init__(self, name: str, settings: RunnerSettings, session: _Session, agent: Agent) -> None:
        self._name = name
        self._settings = settings
        self._session = session
        self._agent = agent

    async def run(self, stop: asyncio.Event) -> int:
        """The exit code: 0 after a stop, `REFUSED` when the token opens nothing any more, 1 when NATS stays away."""
        pulse = os.environ.get("PULSE_FILE")
        beating = None if pulse is None else asyncio.create_task(beat(Path(pulse)))
        try:
            return await self._serve(stop)
        finally:
            await end_tasks(beating)

    async def _serve(self, stop: asyncio.Event) -> int:
        self._settings.agents_root.mkdir(parents=True, exist_ok=True, mode=0o700)
        await reap_orphans(self._settings.agents_root)
        standing = Standing(self._session.app_url, self._session.id, self._session.token)
        working = asyncio.create_task(self._work(standing))
        over, stopping = asyncio.create_task(standing.over()), asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({working, over, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if over.done():
                return REFUSED
            return 0 if stop.is_set() else 1
        finally:
            await end_tasks(working, patience=2 * CLEAN_UP_SECONDS + 2)
            await end_tasks(over, stopping)

    async def _work(self, standing: Standing) -> None:
        durable = sandbox_durable(self._session.id)
        try:
            client = await connect(
                self._settings.nats_url,
                service=durable,
                user=self._session.id,
                password=self._session.token,
                wait_seconds=CONNECT_SECONDS,
                on_refused=standing.doubt,
            )
        except LogUnavailable as error:
            logger.error("session.refused", error=str(error))  # noqa: TRY400 - the text says it all
            return
        try:
            logger.info("session.ready", session_id=self._session.id, runner=self._name)
            await Intake(client, self._desk(client), durable=durable).run()
        finally:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(CLEAN_UP_SECONDS):
                    await self._agent.close()
            await client.close()

    def _desk(self, client: Client) -> Desk:
        settings, session = self._settings, self._session
        # Not asked for by name: what the server would tell of the bucket tells of others' runs too.
        bucket = KeyValue(name=BUCKET, stream=f"KV_{BUCKET}", pre=f"$KV.{BUCKET}.", js=client.jetstream(), direct=True)
        return Desk(
            service=self._name,
            runner_id=f"sandbox-{session.id[:8]}-{new_id()}",
            agent=self._agent,
            log=SessionLog(client),
            leases=Leases(bucket),
            outputs=GatewayOutputs(session.app_url, session.id, session.token),
            settings=settings,
            run_tokens=ExchangedRunTokens(settings.llm_gateway_url, session.token),
            redactor=settings.redactor,
            lease_key=lease_key,
        )


async def _until_signal(box: _Box) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return await box.run(stop)


def _loop() -> asyncio.AbstractEventLoop:
    from runyard_chassis.loop import new_event_loop  # noqa: PLC0415 - uvloop is not there on every system

    return new_event_loop()

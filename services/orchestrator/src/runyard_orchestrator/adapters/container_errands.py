"""What has to be seen to before a run's start is sent into a container, or away from one."""

import structlog
from nats.aio.client import Client

from runyard_chassis import Unavailable
from runyard_events import CommandBus, CommandTimeout, LogUnavailable
from runyard_events.catalogue import SandboxRules
from runyard_events.commands import ReleaseSandbox, command
from runyard_events.topology import ensure_sandbox_queue
from runyard_orchestrator.domain.facts import OWNER
from runyard_orchestrator.domain.rules import Installation, rules_of
from runyard_orchestrator.domain.situation import gives_way
from runyard_orchestrator.store.reading import SessionKey
from runyard_orchestrator.store.reading_sandboxes import SandboxRows

logger = structlog.get_logger(__name__)

_RELEASE_SECONDS = 120


class ContainerErrands:
    """The queue of a session's container, and its files when plain processes work on them again."""

    def __init__(self, client: Client, bus: CommandBus, rows: SandboxRows, installation: Installation) -> None:
        self._client = client
        self._bus = bus
        self._rows = rows
        self._installation = installation

    async def before_container(self, key: SessionKey, team: SandboxRules | None) -> str | None:
        """Sees to it that the container can take starts; returns the agent's own thread there.

        Raises:
            Unavailable: not yet, a container that is not to take this one has to go first.
            LogUnavailable: the server does not answer.
        """
        if gives_way(await self._rows.sandbox(key), rules_of(self._installation, team)):
            raise Unavailable("The session's container gives way to one of another runtime.", type="sandbox-gives-way")
        await ensure_sandbox_queue(self._client, key.session_id)
        return await self._rows.native_thread(key)

    async def before_process(self, key: SessionKey) -> None:
        """Gives the files of a session that had a container back to agents without one.

        Raises:
            LogUnavailable: the workspace service does not answer.
        """
        sandbox = await self._rows.sandbox(key)
        if sandbox.status != "absent":
            await self.release(key)

    async def release(self, key: SessionKey) -> None:
        """The same, whatever the rows say."""
        asked = command(ReleaseSandbox(session_id=key.session_id), tenant_id=key.tenant_id, actor=f"service:{OWNER}")
        try:
            reply = await self._bus.request(asked, timeout=_RELEASE_SECONDS)
        except CommandTimeout as error:
            raise LogUnavailable(str(error)) from error
        if not reply.ok:
            # The run may start all the same: it works on the files as they are.
            problem = reply.problem.type if reply.problem else ""
            logger.warning("sandbox.not_released", session_id=key.session_id, problem=problem)

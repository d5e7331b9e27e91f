"""The gateway's side for containers: whose token it is, what they say, what they are to do."""

from datetime import UTC, datetime, timedelta
from typing import Any

from nats.aio.client import Client

from runyard_chassis import Unauthorized, Unavailable, raise_for_problem, tracing
from runyard_chassis.auth import Container, authenticate_container
from runyard_chassis.problems import NotFound, TimedOut
from runyard_chassis.tokens import SESSION_AUDIENCE, SESSION_KEY, Tokens, derive_key
from runyard_events.admission import admits
from runyard_events.commands import CommandBus, RecordMessages, command
from runyard_events.errors import CommandTimeout, EventError, LogUnavailable
from runyard_events.log import EventLog
from runyard_events.subjects import run_subject
from runyard_gateway.adapters.keeping import OutputKeeper
from runyard_gateway.adapters.spending import OutputBudget, Paces
from runyard_gateway.settings import Settings
from runyard_gateway.streaming.inbox import Inbox

OUTSIDE_EPOCH = 1
"""Of containers that are not ours: a session has one, and keeps it."""


class ContainersDoor:
    """Everything that a session's token opens here."""

    def __init__(self, settings: Settings, client: Client, log: EventLog, budget: OutputBudget) -> None:
        self._tokens = Tokens(derive_key(settings.jwt_secret_key, SESSION_KEY), SESSION_AUDIENCE)
        self._lifetime = timedelta(days=settings.session_token_days)
        self._timeout = settings.command_timeout_seconds
        self._bus = CommandBus(client)
        self._log = log
        self._budget = budget
        self.outputs = OutputKeeper(client)
        self.paces = Paces()

    def token(self, tenant_id: str, session_id: str) -> tuple[str, datetime]:
        """A token for a container that is not ours, and until when it is good."""
        token = self._tokens.mint(tenant=tenant_id, session=session_id, epoch=OUTSIDE_EPOCH, lifetime=self._lifetime)
        return token, (datetime.now(UTC) + self._lifetime).replace(microsecond=0)

    async def admit(self, token: str | None, session_id: str) -> Container:
        """The container that a token names.

        Raises:
            Unauthorized: no good token, or that of a container which is not the session's any more.
            NotFound: it is another session's. LogUnavailable: nobody can tell.
        """
        container = authenticate_container(self._tokens, token)
        if container.session != session_id:
            raise NotFound("There is no such session.", type="session-not-found")
        await self.check(container)
        return container

    async def check(self, container: Container) -> None:
        """Raises as `admit`, for one who was admitted before."""
        if not await admits(self._log, container.tenant, container.session, container.epoch):
            raise Unauthorized("The token is of a container that is no more.", type="session-token-refused")

    async def has_run(self, container: Container, run_id: str) -> bool:
        """Whether the run is of the container's session."""
        subject = run_subject(container.tenant, container.session, run_id, "lifecycle")
        return await self._log.last(subject) is not None

    def inbox(self, container: Container) -> Inbox:
        """What the container is to do."""
        return Inbox(self._log, container.tenant, container.session)

    async def keep(self, container: Container, reference: str, content: bytes) -> None:
        """Keeps an output of the container's session.

        Raises:
            TooLarge: the session has brought too much altogether. LogUnavailable: the store does not answer.
        """
        async with self._budget.spent(container.session, len(content)):
            await self.outputs.put(reference, content)

    async def record(
        self, container: Container, messages: tuple[dict[str, Any], ...], run_id: str | None, size: int = 0
    ) -> dict[str, Any]:
        """Has what a container says, in `size` bytes, made into events; returns `accepted`, `run_id` and `seq`.

        Raises:
            Problem: it is refused, is too much at a time (429), or the orchestrator does not answer (503, 504).
        """
        self.paces.check(container.session)
        self.paces.count(container.session, size, len(messages))
        wanted = RecordMessages(
            session_id=container.session, run_id=run_id or "", epoch=container.epoch, messages=messages
        )
        actor = f"container:{container.session}"
        one = command(wanted, tenant_id=container.tenant, actor=actor, traceparent=tracing.traceparent())
        try:
            reply = raise_for_problem(await self._bus.request(one, timeout=self._timeout))
        except CommandTimeout as error:
            raise TimedOut("The messages were not recorded in time; say them again.", type="command-timeout") from error
        except (LogUnavailable, EventError) as error:
            raise Unavailable("The command queue does not answer.", type="commands-unavailable") from error
        return {**reply.result, "seq": reply.seq}

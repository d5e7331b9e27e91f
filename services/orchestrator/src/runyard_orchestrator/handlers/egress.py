"""Answers the proxy of containers: may this one go there? What is refused becomes an event."""

import asyncio
import contextlib
from collections import Counter

import structlog

from runyard_events import EventError, Scope
from runyard_events.catalogue import SandboxEgressDenied
from runyard_events.tasks import end_tasks
from runyard_orchestrator.adapters.way_out import Locating, Passes
from runyard_orchestrator.domain.egress import allows
from runyard_orchestrator.domain.rules import Installation, rules_of
from runyard_orchestrator.handlers.telemetry import Reports
from runyard_orchestrator.store.reading_sandboxes import SandboxRows
from runyard_sandbox import Provisioner, SandboxFault
from runyard_sandbox import Sandbox as Container

logger = structlog.get_logger(__name__)

ALLOWED_SECONDS = 10.0
REFUSED_SECONDS = 3.0
"""How long the proxy may keep an answer: so long does a change of the rules take to be felt."""
_GATHER_SECONDS = 1.0
_MOST_OF_EACH = 20
"""Names of one container that are told of at a time: one that tries everything must fill neither the log nor what is
gathered of others."""
_LONGEST_HOST = 255


class Egress:
    """Decides about connections of containers to the outside."""

    def __init__(
        self,
        provisioner: Provisioner | None,
        rows: SandboxRows,
        installation: Installation,
        reports: Reports,
        passes: Passes | None,
    ) -> None:
        self._provisioner = provisioner
        self._passes = passes
        self._rows = rows
        self._installation = installation
        self._reports = reports
        self._refused: Counter[tuple[Scope, str, int]] = Counter()
        self._names: Counter[Scope] = Counter()
        self._telling: set[asyncio.Task[None]] = set()

    async def decide(self, peer: str, host: str, port: int, shown: str | None = None) -> tuple[bool, float]:
        """Whether whoever asks may reach the host, and for how many seconds that holds."""
        asking = await self._at(peer) if self._passes is None else await self._passes.whose(shown or "")
        if asking is None:
            logger.warning("egress.stranger", peer=peer, host=host[:_LONGEST_HOST], port=port)
            return False, 0.0
        rules = rules_of(self._installation, await self._rows.rules(asking.tenant_id))
        if allows(rules.egress, host, port):
            return True, ALLOWED_SECONDS
        self._refuse(asking, host[:_LONGEST_HOST], port)
        return False, REFUSED_SECONDS

    async def close(self) -> None:
        """Says what has not been said yet."""
        await end_tasks(*self._telling, patience=_GATHER_SECONDS * 2)

    async def _at(self, peer: str) -> Scope | None:
        if not isinstance(self._provisioner, Locating):
            return None
        try:
            container = await self._provisioner.at_address(peer)
        except SandboxFault as error:
            logger.warning("egress.engine_away", error=str(error))
            return None
        return None if container is None else scope_of(container)

    def _refuse(self, scope: Scope, host: str, port: int) -> None:
        about = (scope, host, port)
        if about not in self._refused:
            if self._names[scope] >= _MOST_OF_EACH:
                return  # it tries everything: what is known of it by now will do
            self._names[scope] += 1
            task = asyncio.create_task(self._tell(about))
            self._telling.add(task)
            task.add_done_callback(self._telling.discard)
        self._refused[about] += 1

    async def _tell(self, about: tuple[Scope, str, int]) -> None:
        with contextlib.suppress(asyncio.CancelledError):  # the service ends: it is said now
            await asyncio.sleep(_GATHER_SECONDS)
        scope, host, port = about
        count = self._refused.pop(about)
        self._names[scope] -= 1
        if not self._names[scope]:
            del self._names[scope]
        try:
            await self._reports.say(scope, SandboxEgressDenied(host=host, port=port, count=count))
        except EventError as error:
            logger.warning("egress.untold", host=host, port=port, error=str(error))


def scope_of(container: Container) -> Scope:
    """Where it is told what a container does."""
    if container.purpose == "preview":
        return Scope.preview(container.tenant_id, container.owner_id)
    return Scope.session(container.tenant_id, container.owner_id)

"""Ends imports that nobody will end: their command was given up because the service died at it each time."""

import asyncio
from datetime import UTC, datetime, timedelta

from runyard_chassis import Database, get_logger
from runyard_events import Conflict, Scope
from runyard_events.catalogue import WorkspaceImportFailed
from runyard_events.database import DATABASE_FAULTS
from runyard_events.errors import EventError
from runyard_workspace.adapters.clone import Cloner
from runyard_workspace.domain.layout import Layout
from runyard_workspace.handlers.imports import Imports
from runyard_workspace.histories import Histories
from runyard_workspace.store import importing

CHECK_SECONDS = 60.0
_log = get_logger(__name__)


class AbandonedImports:
    """Looks for imports under way that this service is not at work on and nothing was heard of for a while.

    A command that was not acknowledged comes again within seconds, so one that has not come back after the
    grace will not. If it does after all, whoever writes the end first is right.
    """

    def __init__(
        self,
        *,
        database: Database,
        histories: Histories,
        imports: Imports,
        cloner: Cloner,
        layout: Layout,
        grace_seconds: float,
    ) -> None:
        self._database = database
        self._histories = histories
        self._imports = imports
        self._cloner = cloner
        self._layout = layout
        self._grace = grace_seconds
        self._since = datetime.now(UTC)

    async def run(self) -> None:
        """Looks from time to time until cancelled."""
        while True:
            await asyncio.sleep(min(self._grace, CHECK_SECONDS))
            try:
                await self.look()
            except (EventError, *DATABASE_FAULTS) as error:
                _log.warning("imports.not_looked_after", error=str(error) or type(error).__name__)

    async def look(self) -> int:
        """Ends those that are abandoned; returns how many there were."""
        async with self._database.session() as session:
            candidates = await importing(session)
        ended = 0
        for tenant, workspace in candidates:
            if not self._imports.is_at(workspace):
                ended += await self._end(tenant, workspace)
        return ended

    async def _end(self, tenant: str, workspace: str) -> bool:
        state, seq = await self._histories.workspace(tenant, workspace)
        if state.imported or state.failed or state.heard_at is None:
            return False
        if datetime.now(UTC) - max(state.heard_at, self._since) < timedelta(seconds=self._grace):
            return False
        event = WorkspaceImportFailed(
            reason="failed", message="The import was given up: the service was ended at it several times."
        )
        scope = Scope.workspace(tenant, workspace)
        try:
            await self._histories.writer(scope, state.next_seq).append(event, expect=seq)
        except Conflict:
            return False
        await self._cloner.discard(self._layout.repository(workspace), workspace)
        _log.info("workspace.import_abandoned", workspace_id=workspace)
        return True

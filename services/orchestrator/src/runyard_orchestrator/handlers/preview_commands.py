"""The commands about previews: what people ask for. Whoever looks after the previews brings it about."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from runyard_chassis import CommandServer, Conflict, NotFound
from runyard_events import Command, EventLog, Reply
from runyard_events.commands import ControlPreview, CreatePreview, RevokeShare, SharePreview
from runyard_orchestrator.adapters.ledger import Cause
from runyard_orchestrator.domain import preview as previews
from runyard_orchestrator.domain.preview import Decision, Preview
from runyard_orchestrator.handlers.commands import need_workspace, session_key
from runyard_orchestrator.handlers.desk import Desk
from runyard_orchestrator.handlers.preview_desk import PreviewDesk
from runyard_orchestrator.store.previews import PreviewKey


class PreviewCommands:
    """Handlers, one per command; `sessions` knows those that are shown, `changed` is told what was decided about."""

    def __init__(self, desk: PreviewDesk, log: EventLog, sessions: Desk, changed: Callable[[PreviewKey], None]) -> None:
        self._desk = desk
        self._log = log
        self._sessions = sessions
        self._changed = changed

    def register(self, server: CommandServer) -> None:
        """Makes the server hand its commands over."""
        server.on(CreatePreview)(self.create)
        server.on(ControlPreview)(self.control)
        server.on(SharePreview)(self.share)
        server.on(RevokeShare)(self.revoke)

    async def create(self, command: Command[CreatePreview]) -> Reply:
        """Records a new preview.

        Raises:
            Problem: there is no such workspace or session, or it is not ready.
        """
        asked = command.payload
        await self._need_files(command.tenant_id, asked.workspace_id, asked.session_id)
        return await self._decided(
            command, asked.preview_id, lambda preview: previews.create(preview, asked, command.actor)
        )

    async def control(self, command: Command[ControlPreview]) -> Reply:
        """Records that it is to be started, restarted, stopped or deleted."""
        asked = command.payload
        known = await self._desk.preview(PreviewKey(command.tenant_id, asked.preview_id))
        has_files = await self.has_files(command.tenant_id, known)
        return await self._decided(
            command,
            asked.preview_id,
            lambda preview: previews.control(preview, asked, command.actor, has_files=has_files),
        )

    async def share(self, command: Command[SharePreview]) -> Reply:
        """Records a link that was given out."""
        asked = command.payload
        return await self._decided(
            command,
            asked.preview_id,
            lambda preview: previews.share(preview, asked, command.actor, datetime.now(UTC)),
        )

    async def revoke(self, command: Command[RevokeShare]) -> Reply:
        """Records that a link opens nothing any more."""
        asked = command.payload
        return await self._decided(
            command, asked.preview_id, lambda preview: previews.revoke(preview, asked, command.actor)
        )

    async def has_files(self, tenant: str, preview: Preview) -> bool:
        """Whether the session that it shows is there; a branch always is, as far as it is known here."""
        if preview.session_id is None:
            return True
        session = await self._desk.rows.session(tenant, preview.session_id)
        return session is not None and session["status"] == "ready"

    async def _decided(self, command: Command[Any], preview_id: str, decide: Callable[[Preview], Decision]) -> Reply:
        key = PreviewKey(command.tenant_id, preview_id)
        cause = Cause(command.id, command.correlation_id, command.traceparent)
        preview = await self._desk.decide(key, decide, cause)
        self._changed(key)
        result = {"preview_id": preview_id, "status": preview.status, "generation": preview.generation}
        return Reply(ok=True, result=result, seq=preview.stream_seq or None)

    async def _need_files(self, tenant: str, workspace_id: str, session_id: str | None) -> None:
        await need_workspace(self._log, tenant, workspace_id)
        if session_id is None:
            return
        # Whoever follows the log may know of the session before the rows show it.
        await self._sessions.catch_up(session_key(tenant, session_id), families=("lifecycle",))
        session = await self._desk.rows.session(tenant, session_id)
        if session is None or session["workspace_id"] != workspace_id or session["status"] in ("deleted", "failed"):
            raise NotFound("There is no such session.", type="session-not-found")
        if session["status"] != "ready":
            raise Conflict("The session is still being made.", type="session-not-ready")

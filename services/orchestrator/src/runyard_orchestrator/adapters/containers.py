"""Containers of sessions, as the provisioner of this installation makes them."""

import errno
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog

from runyard_chassis.tokens import Tokens
from runyard_events import CommandBus, CommandTimeout, LogUnavailable, Scope
from runyard_events.commands import PrepareSandbox, command
from runyard_orchestrator.adapters.homes import Homes
from runyard_orchestrator.adapters.way_out import WayOut
from runyard_orchestrator.domain.facts import OWNER
from runyard_orchestrator.domain.sandbox import Sandbox
from runyard_orchestrator.domain.situation import Situation
from runyard_orchestrator.store.reading import SessionKey
from runyard_sandbox import (
    EngineAway,
    Health,
    Limits,
    Mount,
    NotThere,
    Provisioner,
    ProvisionFailed,
    SandboxFault,
    Spec,
)
from runyard_sandbox import Sandbox as Container

logger = structlog.get_logger(__name__)

HOME_INSIDE = "/agents"
PULSE_FILE = "/tmp/.runyard-pulse"  # noqa: S108 - in the container's own memory
"""What the runner inside writes every five seconds for as long as its event loop turns: the machine's uptime."""
_OLDEST_PULSE_SECONDS = 20
_PREPARE_SECONDS = 120
_TAIL_LINES = 20
_TAIL_WIDTH = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Outfit:
    """What every agent's container gets: addresses as it sees them, limits, user."""

    user: str
    limits: Limits
    nats_url: str
    llm_gateway_url: str
    app_url: str
    token_lifetime: timedelta
    health: Health | None = None
    environment: Mapping[str, str] = field(default_factory=dict[str, str])


class Containers:
    """Makes, finds and ends the containers of sessions."""

    def __init__(
        self,
        provisioner: Provisioner,
        *,
        bus: CommandBus,
        homes: Homes,
        tokens: Tokens,
        way_out: WayOut,
        outfit: Outfit,
    ) -> None:
        self.provisioner = provisioner
        self._way_out = way_out
        self._bus = bus
        self._homes = homes
        self._tokens = tokens
        self._outfit = outfit

    async def provision(self, key: SessionKey, at: Situation, name: str) -> Container:
        """Makes and starts a session's container, with what it is to see of the disk and a token of its own.

        Raises:
            ProvisionFailed: it cannot be had.
            EngineAway: the engine does not answer.
            LogUnavailable: the workspace service does not answer.
        """
        path, mounts = await self._files(key)
        try:
            home = await self._homes.ensure(key.session_id)
        except OSError as error:
            reason = "disk_full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "create_failed"
            raise ProvisionFailed(f"The agent's folder cannot be made: {error.strerror}", reason=reason) from error
        box, outfit = at.sandbox, self._outfit
        # Its last moment is its token's.
        expires = datetime.now(UTC) + outfit.token_lifetime
        return await self.provisioner.provision(
            Spec(
                name=name,
                purpose="agent",
                tenant_id=key.tenant_id,
                owner_id=key.session_id,
                epoch=box.epoch,
                image=box.image or at.installation.image(at.runner_type),
                env=self._environment(key, box, path),
                mounts=(*mounts, Mount(home, HOME_INSIDE)),
                working_directory=path,
                user=outfit.user,
                limits=outfit.limits,
                runtime=box.runtime,
                health=outfit.health,
                expires_at=expires.replace(microsecond=0),
            )
        )

    async def start(self, name: str) -> Container | None:
        """Starts one at rest again; None when it is not there any more."""
        try:
            return await self.provisioner.start(name)
        except NotThere:
            return None

    async def of(self, key: SessionKey, names: Sequence[str]) -> list[Container]:
        """Those of these names that are there and this session's own.

        Raises:
            EngineAway: the engine does not answer.
        """
        found = [await self.provisioner.find(name) for name in names]
        return [one for one in found if one is not None and owner_of_container(one) == key]

    async def tail(self, name: str) -> tuple[str, ...]:
        """The last lines that one printed, as far as they can be had."""
        lines: list[str] = []
        try:
            async for line in self.provisioner.logs(name, tail=_TAIL_LINES):
                lines.append(line.text[:_TAIL_WIDTH])  # noqa: PERF401 - what was read before a fault counts
        except (SandboxFault, TimeoutError, OSError) as error:
            logger.info("sandbox.no_tail", name=name, error=str(error))
        return tuple(lines[-_TAIL_LINES:])

    async def delete(self, name: str) -> None:
        """Removes one with all that was made for it."""
        await self.provisioner.delete(name)

    async def _files(self, key: SessionKey) -> tuple[str, tuple[Mount, ...]]:
        asked = command(
            PrepareSandbox(session_id=key.session_id, owner=self._outfit.user),
            tenant_id=key.tenant_id,
            actor=f"service:{OWNER}",
        )
        try:
            reply = await self._bus.request(asked, timeout=_PREPARE_SECONDS)
        except CommandTimeout as error:
            raise LogUnavailable(str(error)) from error
        if not reply.ok:
            why = reply.problem.detail if reply.problem else "no reason given"
            is_full = reply.problem is not None and reply.problem.type == "disk-full"
            raise ProvisionFailed(
                f"The session's files cannot be given to a container: {why}",
                reason="disk_full" if is_full else "create_failed",
            )
        mounts = (
            Mount(Path(one["source"]), one["target"], read_only=one["read_only"]) for one in reply.result["mounts"]
        )
        return str(reply.result["path"]), tuple(mounts)

    def _environment(self, key: SessionKey, box: Sandbox, path: str) -> dict[str, str]:
        outfit = self._outfit
        token = self._tokens.mint(
            tenant=key.tenant_id, session=key.session_id, epoch=box.epoch, lifetime=outfit.token_lifetime
        )
        return {
            **outfit.environment,
            "SESSION_ID": key.session_id,
            "SESSION_TOKEN": token,
            "MAIN_APP_URL": outfit.app_url,
            "MAIN_APP_WS_URL": outfit.app_url.replace("http", "ws", 1),
            "WORKSPACE_PATH": path,
            "NATS_URL": outfit.nats_url,
            "LLM_GATEWAY_URL": outfit.llm_gateway_url,
            "AGENTS_ROOT": HOME_INSIDE,
            "PULSE_FILE": PULSE_FILE,
            **self._way_out.environment(Scope.session(key.tenant_id, key.session_id), box.epoch),
        }


def pulse_check(path: str = PULSE_FILE) -> tuple[str, ...]:
    """Whether the runner has written lately: one shell that starts nothing else, so that it works at every limit.

    A file that is not there says nothing: the runner may be older than its pulse, or about to begin. What ends is seen
    by its end, and who never begins by not taking its run.
    """
    old = f"test $((${{now%.*}} - beat)) -gt {_OLDEST_PULSE_SECONDS}"
    said = "echo the runner has not moved for $((${now%.*} - beat)) s"
    reading = f"read -r beat <{path} && read -r now rest </proc/uptime"
    return ("sh", "-c", f"test -e {path} || exit 0; {reading} || exit 1; if {old}; then {said}; exit 1; fi")


def owner_of_container(container: Container) -> SessionKey:
    """The session that a container is labelled with."""
    return SessionKey(container.tenant_id, container.owner_id)


__all__ = ["HOME_INSIDE", "Containers", "EngineAway", "Outfit", "owner_of_container"]

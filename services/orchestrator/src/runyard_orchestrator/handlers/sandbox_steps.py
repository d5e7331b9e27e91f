"""Carries out one step of a sandbox's upkeep."""

import asyncio
from datetime import UTC, datetime

import structlog
from nats.aio.client import Client

from runyard_events.catalogue import (
    AnyPayload,
    RunDispatched,
    RunError,
    SandboxError,
    SandboxRunning,
    SandboxStart,
    SandboxStopped,
    UiRunError,
)
from runyard_events.topology import empty_sandbox_queue, ensure_sandbox_queue, remove_sandbox_queue, sandbox_queues
from runyard_orchestrator.adapters.container_errands import ContainerErrands
from runyard_orchestrator.adapters.containers import Containers
from runyard_orchestrator.adapters.homes import Homes
from runyard_orchestrator.adapters.ledger import Cause
from runyard_orchestrator.adapters.sandbox_ledger import SandboxLedger
from runyard_orchestrator.domain.facts import Decision, Planned
from runyard_orchestrator.domain.rules import OUR_CONTAINERS
from runyard_orchestrator.domain.run import Run
from runyard_orchestrator.domain.sandbox import Sandbox
from runyard_orchestrator.domain.situation import (
    Delete,
    FailRun,
    Forget,
    Pause,
    Provision,
    Record,
    Resume,
    Situation,
    Start,
    Step,
    Stop,
    TakeBack,
    container_name,
)
from runyard_orchestrator.domain.state import State
from runyard_orchestrator.handlers.desk import Desk
from runyard_orchestrator.store.reading import SessionKey
from runyard_sandbox import EngineAway, NotSupported, NotThere, ProvisionFailed, SandboxFault
from runyard_sandbox import Sandbox as Container

logger = structlog.get_logger(__name__)


class Steps:
    """What an upkeep's steps are carried out with. `containers` is None where sandboxes are switched off."""

    def __init__(
        self,
        *,
        client: Client,
        desk: Desk,
        ledger: SandboxLedger,
        homes: Homes,
        errands: ContainerErrands,
        containers: Containers | None,
        at_once: int = 4,
    ) -> None:
        self._client = client
        self._desk = desk
        self._ledger = ledger
        self._homes = homes
        self._errands = errands
        self._containers = containers
        self._slots = asyncio.Semaphore(at_once)

    async def take(self, key: SessionKey, at: Situation, step: Step, cause: Cause) -> Sandbox:
        """Does it; returns the sandbox with what was written about it.

        Raises:
            Conflict: somebody else has written about the sandbox.
            EngineAway: the engine does not answer.
            LogUnavailable, Problem: try again later.
        """
        logger.info("sandbox.step", session_id=key.session_id, step=type(step).__name__, epoch=at.sandbox.epoch)
        match step:
            case Record(payload=payload, tail_of=tail_of):
                return await self._record(key, at, payload, cause, tail_of=tail_of)
            case Provision(name=name):
                return await self._provision(key, at, name, cause)
            case Start() | Resume():
                return await self._set_going(key, at, step, cause)
            case Pause(name=name):
                return await self._pause(key, at, name, cause)
            case TakeBack() | FailRun():
                await self._conclude(key, at, step, cause)
            case Forget():
                await remove_sandbox_queue(self._client, key.session_id)
                await self._homes.remove(key.session_id)
            case _:
                await self._to_rest(step)
        return at.sandbox

    async def queues(self) -> set[str]:
        """The sessions whose starts have a queue.

        Raises:
            LogUnavailable: the server does not answer.
        """
        return await sandbox_queues(self._client)

    async def _to_rest(self, step: Step) -> None:
        if self._containers is None:
            return
        match step:
            case Stop(name=name):
                await self._containers.provisioner.stop(name)
            case Delete(name=name):
                await self._containers.delete(name)
            case _:
                pass

    async def _record(
        self, key: SessionKey, at: Situation, payload: AnyPayload, cause: Cause, *, tail_of: str | None = None
    ) -> Sandbox:
        if isinstance(payload, SandboxError):
            if tail_of is not None and self._containers is not None:
                payload = payload.model_copy(update={"log_tail": await self._containers.tail(tail_of)})
            logger.warning("sandbox.error", session_id=key.session_id, reason=payload.reason, message=payload.message)
        after = await self._ledger.write(key, at.sandbox, payload, cause)
        if isinstance(payload, SandboxStopped) and at.sandbox.method != at.installation.method:
            # Nobody can be asked to end that container any more; the files are taken back all the same.
            await self._errands.release(key)
        return after

    async def _provision(self, key: SessionKey, at: Situation, name: str, cause: Cause) -> Sandbox:
        assert self._containers is not None  # noqa: S101 - nothing is provisioned where there are no sandboxes
        # A container that a person asked for takes starts from the first moment too.
        await ensure_sandbox_queue(self._client, key.session_id)
        async with self._slots:
            try:
                container = await self._containers.provision(key, at, name)
            except EngineAway:
                raise
            except SandboxFault as error:
                return await self._failed(key, at, error, cause)
        return await self._came_up(key, at, container, cause, at.sandbox.started_for)

    async def _set_going(self, key: SessionKey, at: Situation, step: Start | Resume, cause: Cause) -> Sandbox:
        assert self._containers is not None  # noqa: S101 - as above
        container: Container | None
        try:
            if isinstance(step, Resume):
                await self._containers.provisioner.resume(step.name)
                container = await self._containers.provisioner.find(step.name)
            else:
                container = await self._containers.start(step.name)
        except EngineAway:
            raise
        except NotThere:
            return at.sandbox
        except SandboxFault as error:
            return await self._failed(key, at, error, cause)
        if container is None or (isinstance(step, Resume) and at.sandbox.status == "running"):
            return at.sandbox
        # One that nobody has asked for goes on for a run.
        return await self._came_up(key, at, container, cause, at.sandbox.started_for or "prompt")

    async def _failed(self, key: SessionKey, at: Situation, error: SandboxFault, cause: Cause) -> Sandbox:
        """Whatever the engine's reason: tried again without end, the run would never end."""
        reason = error.reason if isinstance(error, ProvisionFailed) else "create_failed"
        return await self._record(
            key, at, SandboxError(epoch=at.sandbox.epoch, reason=reason, message=str(error)), cause
        )

    async def _pause(self, key: SessionKey, at: Situation, name: str, cause: Cause) -> Sandbox:
        assert self._containers is not None  # noqa: S101 - as above
        try:
            await self._containers.provisioner.pause(name)
        except NotSupported as error:
            logger.warning("sandbox.not_paused", session_id=key.session_id, error=str(error))
            container = await self._containers.provisioner.find(name)
            if container is not None:
                return await self._came_up(key, at, container, cause, "cannot_pause")
        return at.sandbox

    async def _came_up(
        self, key: SessionKey, at: Situation, container: Container, cause: Cause, why: SandboxStart | None
    ) -> Sandbox:
        box = at.sandbox
        if container.status not in ("running", "creating"):
            code = "" if container.exit_code is None else f" with code {container.exit_code}"
            reason = "out_of_memory" if container.out_of_memory else "exited"
            message = f"The container ended{code} as soon as it had started."
            ended = SandboxError(epoch=box.epoch, reason=reason, message=message, exit_code=container.exit_code)
            return await self._record(key, at, ended, cause, tail_of=container.name)
        since = box.requested_at or box.epoch_at
        took = None if since is None else max(0, round((datetime.now(UTC) - since).total_seconds() * 1000))
        running = SandboxRunning(
            epoch=box.epoch,
            method=box.method,
            name=container.name,
            native_id=container.native_id,
            took_ms=took,
            warm=box.purpose == "pool",
            reason=why,
        )
        return await self._record(key, at, running, cause)

    async def _conclude(self, key: SessionKey, at: Situation, step: TakeBack | FailRun, cause: Cause) -> None:
        """The container goes before anybody else works on the run: two agents never share files."""
        if self._containers is not None:
            try:
                for one in await self._containers.of(key, [container_name(key.session_id, at.sandbox.epoch)]):
                    await self._containers.delete(one.name)
            except SandboxFault as error:
                logger.warning("sandbox.not_deleted", session_id=key.session_id, error=str(error))
        await empty_sandbox_queue(self._client, key.session_id)

        def decide(state: State) -> Decision:
            return _ending(state.run(step.run_id), step)

        outcome = await self._desk.carry_out(key, decide, cause, run_id=step.run_id)
        logger.warning("sandbox.run_concluded", session_id=key.session_id, types=sorted(outcome.types))
        if outcome.types:
            await self._desk.follow_up(key, cause, events=outcome.types)


def _ending(run: Run, step: TakeBack | FailRun) -> tuple[Planned, ...]:
    if run.method not in OUR_CONTAINERS or run.status not in ("dispatched", "running", "waiting_approval"):
        return ()
    if isinstance(step, FailRun):
        message = f"The session's container could not be had: {step.message}"
        return (
            Planned(UiRunError(message=message, reason="sandbox_failed"), step.run_id),
            Planned(RunError(reason="sandbox_failed", message=message), step.run_id),
        )
    if run.status != "dispatched":
        return ()
    back = RunDispatched(runner_type=run.runner_type, method="process", reason=step.reason)
    return (Planned(back, step.run_id),)

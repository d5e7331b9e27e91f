"""The orchestrator's neighbours as real NATS clients: a workspace and a runner that append real events."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from runyard_events import Conflict, EventLog, Lease, Leases, Scope, StoredEvent, Writer
from runyard_events.catalogue import (
    TERMINAL_TYPES,
    AnyPayload,
    ApprovalRequested,
    RunApprovalRequested,
    RunCancelled,
    RunCompleted,
    RunStarted,
    UiRunCancelled,
    UiRunCompleted,
    UiRunStarted,
    WorkspaceImported,
    WorktreeFailed,
    WorktreeOpened,
    WorktreeRemoved,
)
from runyard_events.commands import (
    Command,
    CommandBus,
    OpenWorktree,
    PrepareSandbox,
    ReleaseSandbox,
    RemoveWorktree,
    Reply,
    StartInSandbox,
    StartRun,
    decode_command,
)
from runyard_events.leases import BUCKET
from runyard_events.topology import COMMANDS


@dataclass
class Queue:
    """Takes commands of one durable and keeps what it got; `handle` does the work."""

    client: Client
    durable: str
    handle: Callable[[Command[Any]], Any]
    seen: list[Command[Any]] = field(default_factory=list[Command[Any]])
    arrived: asyncio.Condition = field(default_factory=asyncio.Condition)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncGenerator[None, None]:
        task = asyncio.create_task(self._run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def got(self, enough: Callable[[list[Command[Any]]], bool]) -> None:
        async with asyncio.timeout(20), self.arrived:
            await self.arrived.wait_for(lambda: enough(self.seen))

    async def _run(self) -> None:
        subscription = await self.client.jetstream().pull_subscribe_bind(durable=self.durable, stream=COMMANDS)
        async with asyncio.TaskGroup() as tasks:
            while True:
                try:
                    messages = await subscription.fetch(16, timeout=5)
                except (TimeoutError, NatsError):
                    continue
                for message in messages:
                    tasks.create_task(self._one(message))

    async def _one(self, message: Msg) -> None:
        command = decode_command(message.data)
        async with self.arrived:
            self.seen.append(command)
            self.arrived.notify_all()
        await self.handle(command)
        await message.ack()


class FakeWorkspace:
    """Answers worktree commands with the events of a workspace service, each twice."""

    def __init__(self, client: Client, log: EventLog) -> None:
        self.queue = Queue(client, "workspace", self._handle)
        self._log = log
        self._bus = CommandBus(client)
        self.fails = False
        self.root = "/workspaces/w/worktrees"
        """Where containers find the files; on a real engine it has to be there."""
        self.released: list[str] = []
        """Sessions whose files were taken back from containers."""
        self.is_open = asyncio.Event()
        self.is_open.set()

    async def imported(self, tenant: str, workspace: str) -> None:
        payload = WorkspaceImported(
            source_type="local",
            source_uri="/somewhere",
            display_name="somewhere",
            local_path=f"/workspaces/{workspace}/repo",
            head_commit="c0ffee",
            default_branch="main",
            size_bytes=1,
        )
        await Writer(self._log, scope=Scope.workspace(tenant, workspace), source="workspace").append(payload)

    async def _handle(self, command: Command[Any]) -> None:
        await self.is_open.wait()
        asked = command.payload
        if isinstance(asked, ReleaseSandbox):
            self.released.append(asked.session_id)
        if isinstance(asked, PrepareSandbox | ReleaseSandbox):
            path = f"{self.root}/{asked.session_id}"
            mounts = [{"source": path, "target": path, "read_only": False}]
            await self._bus.reply(command, Reply(ok=True, result={"path": path, "branch": "run", "mounts": mounts}))
            return
        scope = Scope.session(command.tenant_id, asked.session_id)
        stands = await self._log.last(scope.subject("effect"))
        writer = Writer(self._log, scope=scope, source="workspace", next_seq=stands.event.seq + 1 if stands else 1)
        with contextlib.suppress(Conflict):
            await writer.append(self._answer(asked), expect=stands.stream_seq if stands else 0)

    def _answer(self, asked: OpenWorktree | RemoveWorktree) -> AnyPayload:
        if isinstance(asked, RemoveWorktree):
            return WorktreeRemoved(workspace_id=asked.workspace_id)
        if self.fails:
            return WorktreeFailed(workspace_id=asked.workspace_id, reason="failed", message="no room")
        path = f"/workspaces/{asked.workspace_id}/sessions/{asked.session_id}"
        return WorktreeOpened(workspace_id=asked.workspace_id, path=path, branch="run", base_commit="c0ffee")


@dataclass
class FakeRun:
    """A run in the hands of the fake runner."""

    command: Command[StartRun]
    writer: Writer
    last: int
    leases: Leases
    lease: Lease | None = None

    @property
    def scope(self) -> Scope:
        return self.writer.scope

    async def lifecycle(self, *payloads: AnyPayload) -> int:
        """Appends a batch, behind whatever stands on the lifecycle."""
        while True:
            try:
                self.last = await self.writer.append_all(payloads, expect={"lifecycle": self.last})
            except Conflict as conflict:
                if conflict.last is None or conflict.last.event.type in TERMINAL_TYPES:
                    raise
                self.last = conflict.last.stream_seq
            else:
                return self.last

    async def ask(self, approval_id: str) -> None:
        asked: dict[str, Any] = {
            "approval_id": approval_id,
            "ask_kind": "command",
            "title": "rm -rf",
            "detail": {"command": "rm -rf build"},
            "options": ("accept", "decline"),
        }
        await self.lifecycle(ApprovalRequested(**asked), RunApprovalRequested(**asked, fingerprint="f"))

    async def complete(self) -> int:
        return await self.lifecycle(UiRunCompleted(), RunCompleted())

    async def cancelled(self) -> int:
        return await self.lifecycle(UiRunCancelled(), RunCancelled())

    async def follow(self, log: EventLog, event_type: str) -> StoredEvent:
        """Waits for an event on the run's lifecycle."""
        async with asyncio.timeout(20):
            async for stored in log.follow(self.scope.subject("lifecycle"), from_seq=1):
                if stored.event.type == event_type:
                    return stored
        raise AssertionError


class FakeRunner:
    """Takes start commands, holds the lease, starts the run and hands it to the test (or completes it itself)."""

    def __init__(
        self, client: Client, log: EventLog, *, runner_type: str = "codex", durable: str | None = None
    ) -> None:
        self.queue = Queue(client, durable or f"runner-{runner_type}", self._handle)
        self._client = client
        self._log = log
        self._type = runner_type
        self.completes = False
        self.starts = True
        self.leases: Leases | None = None
        self._runs: dict[str, asyncio.Future[FakeRun]] = {}

    def started(self, run_id: str) -> "asyncio.Future[FakeRun]":
        """The run, once it has been started here."""
        return self._runs.setdefault(run_id, asyncio.get_running_loop().create_future())

    async def _handle(self, command: Command[StartRun]) -> None:
        future = self.started(command.payload.run_id)
        if not self.starts or future.done():
            return
        if self.leases is None:
            self.leases = Leases(await self._client.jetstream().key_value(BUCKET))
        scope = Scope.run(command.tenant_id, command.payload.session_id, command.payload.run_id)
        last = await self._log.last(scope.subject("lifecycle"))
        if last is None or last.event.type in TERMINAL_TYPES:
            return
        run_id, session_id = command.payload.run_id, command.payload.session_id
        in_container = isinstance(command.payload, StartInSandbox)
        lease = await self.leases.acquire(f"{session_id}.{run_id}" if in_container else run_id, "runner-1")
        writer = Writer(self._log, scope=scope, source=f"runner-{self._type}.1", provider=self._type)
        run = FakeRun(command, writer, last.stream_seq, self.leases, lease)
        native = command.payload.native_thread_id or f"native-{command.payload.session_id}"
        await run.lifecycle(
            UiRunStarted(session_id=command.payload.session_id),
            RunStarted(runner_id="runner-1", attempt=1, native_thread_id=native),
        )
        if self.completes:
            await run.complete()
        if not future.done():
            future.set_result(run)

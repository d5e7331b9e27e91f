"""`runyard up`: servers, services and their end, in order."""

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Coroutine, Mapping
from datetime import UTC, datetime
from typing import Any

import psutil

from runyard_stack.accounts import NATS_USERS
from runyard_stack.credentials import Credentials, load_credentials
from runyard_stack.embedded.ports import require_free
from runyard_stack.errors import StackError
from runyard_stack.hosts import Host, ManyProcesses, OneProcess
from runyard_stack.layout import Layout
from runyard_stack.models import model_source
from runyard_stack.probe import ask_ready
from runyard_stack.progress import Progress
from runyard_stack.sandboxes import method, sandboxes_in_words, what_is_missing
from runyard_stack.secrecy import redactor
from runyard_stack.servers import Existing, Servers, all_of
from runyard_stack.services import PARTS, Wiring, load_build
from runyard_stack.state import State, only_stack_on, write_state
from runyard_stack.taking_down import leave_no_sandboxes, mark_as_taken_down

READY_SECONDS = 90.0
ASK_SECONDS = 0.05


class Stack:
    """One running stack on one data folder."""

    def __init__(
        self,
        layout: Layout,
        progress: Progress,
        *,
        processes: bool = False,
        environment: Mapping[str, str] = os.environ,
        on_ready: Callable[[State, Credentials, float], None] | None = None,
    ) -> None:
        self._layout = layout
        self._progress = progress
        self._processes = processes
        self._environment = environment
        self._on_ready = on_ready

    async def run(self, stop: asyncio.Event) -> None:
        """Start everything, say when it is ready, and stop it all once `stop` is set.

        Raises:
            StackError: something could not be started; whatever was is stopped again.
        """
        self._layout.create()
        with only_stack_on(self._layout):
            credentials = load_credentials(self._layout.credentials, NATS_USERS)
            servers = Servers(self._layout, credentials, Existing.of(self._environment), self._progress)
            state = self._state(servers)
            write_state(self._layout, state)
            try:
                await unless(stop, self._serve(servers, credentials, state))
            finally:
                write_state(self._layout, state.model_copy(update={"phase": "stopping"}))
                await servers.stop()

    async def _serve(self, servers: Servers, credentials: Credentials, state: State) -> None:
        if not self._processes:
            for part in PARTS:
                require_free(self._layout.port(part.name), part.name)
        await all_of(servers.start(), asyncio.to_thread(self._import_services), self._look_for_engine())
        wiring = Wiring(
            layout=self._layout,
            credentials=credentials,
            nats_url=servers.nats_url,
            database_url=servers.database_url,
            nats_users=servers.users,
            jwt_secret_key=self._environment.get("JWT_SECRET_KEY") or credentials.jwt_secret_key,
            redactor=redactor(credentials, self._environment),
        )
        host: Host = ManyProcesses(self._progress, self._environment) if self._processes else OneProcess()
        stop_services = asyncio.Event()
        running = asyncio.create_task(host.run(wiring, stop_services))
        try:
            with self._progress.step("Services"):
                await self._wait_ready(running)
            ready = state.model_copy(update={"phase": "ready"})
            write_state(self._layout, ready)
            if self._on_ready:
                self._on_ready(ready, credentials, time.time() - psutil.Process().create_time())
            await asyncio.shield(running)
            raise StackError("The services have ended by themselves.", f"Log: {self._layout.logs}")
        finally:
            with contextlib.suppress(OSError):
                mark_as_taken_down(self._layout)
            stop_services.set()
            await asyncio.gather(running, return_exceptions=True)
            await self._leave_no_sandboxes(wiring.installation)

    async def _leave_no_sandboxes(self, installation: str) -> None:
        if method(self._environment) == "docker":
            _, problem = await leave_no_sandboxes(installation, self._environment)
            if problem:
                self._progress.warn(problem)

    async def _look_for_engine(self) -> None:
        if method(self._environment) == "docker":
            missing, remedy = await what_is_missing(self._environment)
            if missing:
                self._progress.warn(f"Sandboxes: {missing}; runs wait for it. {remedy}")

    def _import_services(self) -> None:
        if not self._processes:
            for part in PARTS:
                load_build(part)

    async def _wait_ready(self, running: "asyncio.Task[None]") -> None:
        deadline = time.monotonic() + READY_SECONDS
        missing: dict[str, str] = {part.name: "not asked" for part in PARTS}
        while missing and time.monotonic() < deadline:
            if running.done():
                await running
                raise StackError("The services ended before they were ready.", f"Log: {self._layout.logs}")
            answers = await asyncio.gather(*(ask_ready(self._layout.port(name)) for name in missing))
            missing = {name: words for name, (ready, words) in zip(missing, answers, strict=True) if not ready}
            if missing:
                await asyncio.sleep(ASK_SECONDS)
        if missing:
            details = "; ".join(f"{name}: {words}" for name, words in missing.items())
            raise StackError(f"Not ready after {READY_SECONDS:.0f} s: {details}.", f"Log: {self._layout.logs}")

    def _state(self, servers: Servers) -> State:
        return State(
            pid=os.getpid(),
            phase="starting",
            started_at=datetime.now(UTC),
            port_base=self._layout.port_base,
            processes=self._processes,
            addresses={part.name: self._layout.address(part.name) for part in PARTS},
            event_log=servers.nats_url,
            database=servers.database_address,
            model_source=model_source(self._environment),
            sandboxes=sandboxes_in_words(self._environment),
        )


async def unless(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> None:
    """Await `work`; it is cancelled, and its clean-up awaited, once `stop` is set."""
    task = asyncio.create_task(work)
    waiting = asyncio.create_task(stop.wait())
    await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        if not stop.is_set():
            raise

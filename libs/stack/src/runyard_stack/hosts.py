"""Where the services run: all in this process, or each in one of its own."""

import asyncio
import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import Protocol

from runyard_stack.embedded.child import Child
from runyard_stack.errors import StackError
from runyard_stack.progress import Progress
from runyard_stack.secrecy import is_secret
from runyard_stack.services import PARTS, Part, Wiring, build, environment_of

WATCH_SECONDS = 0.1
STOP_SECONDS = 7.0
STOPS_FIRST = "orchestrator"
"""It brings sandboxes to rest, which need the others; `REST_SECONDS` is what it may take."""
REST_SECONDS = 32.0
FIRST_BACKOFF_SECONDS = 0.5
LONGEST_BACKOFF_SECONDS = 15.0
STEADY_SECONDS = 30.0

# Whose secrets a service in a process of its own may inherit: providers', and those of where sandboxes run.
PROVIDER_SERVICE = "llm-gateway"
INHERITED_SECRETS = {"orchestrator": frozenset({"DOKPLOY_API_KEY", "SANDBOX_PROXY_TOKEN"})}


class Host(Protocol):
    """Runs the services until `stop` is set."""

    async def run(self, wiring: Wiring, stop: asyncio.Event) -> None:
        """Returns when all services have stopped."""
        ...


class OneProcess:
    """All services in this process and loop."""

    async def run(self, wiring: Wiring, stop: asyncio.Event) -> None:
        """Build and serve them all."""
        from runyard_chassis.service import PortTakenError, StartFailedError, serve  # noqa: PLC0415

        services = [build(part, wiring) for part in PARTS]
        try:
            await serve(services, stop, stops_first=STOPS_FIRST)
        except (PortTakenError, StartFailedError) as error:
            raise StackError(str(error), f"The log is in {wiring.layout.logs}.") from error


class ManyProcesses:
    """One child process per service, started again when it dies."""

    def __init__(self, progress: Progress, environment: Mapping[str, str] = os.environ) -> None:
        self._progress = progress
        self._environment = environment

    async def run(self, wiring: Wiring, stop: asyncio.Event) -> None:
        """Start them all at once and watch each."""
        children = {part: self._child(part, wiring) for part in PARTS}
        for child in children.values():
            await asyncio.to_thread(child.stop_orphan, STOP_SECONDS)
        try:
            await asyncio.gather(*(self._keep_up(part, child, stop) for part, child in children.items()))
        finally:
            first = [child for part, child in children.items() if part.name == STOPS_FIRST]
            await asyncio.gather(*(asyncio.to_thread(child.stop, REST_SECONDS) for child in first))
            await asyncio.gather(*(asyncio.to_thread(child.stop, STOP_SECONDS) for child in children.values()))

    def _child(self, part: Part, wiring: Wiring) -> Child:
        folder = wiring.layout.home / "run"
        folder.mkdir(exist_ok=True, mode=0o700)
        return Child(
            argv=[sys.executable, "-m", part.package],
            log=wiring.layout.logs / f"{part.name}.log",
            pidfile=folder / f"{part.name}.pid",
            env=inherited(part, self._environment) | environment_of(part, wiring),
        )

    async def _keep_up(self, part: Part, child: Child, stop: asyncio.Event) -> None:
        backoff = FIRST_BACKOFF_SECONDS
        while not stop.is_set():
            began = time.monotonic()
            child.spawn()
            await _first(lambda: child.exit_code is not None, stop)
            if stop.is_set():
                return
            backoff = next_backoff(backoff, time.monotonic() - began)
            self._progress.warn(
                f"{part.name} died (code {child.exit_code}); starting it again in {backoff:.1f} s. Log: {child.log}"
            )
            child.kill()  # whatever it left in its process group
            await _wait(stop, backoff)


def next_backoff(last: float, lived_seconds: float) -> float:
    """How long to wait before the next start: doubled each time, from the beginning after a steady life."""
    if lived_seconds >= STEADY_SECONDS:
        return FIRST_BACKOFF_SECONDS
    return min(last * 2, LONGEST_BACKOFF_SECONDS)


def inherited(part: Part, environment: Mapping[str, str]) -> dict[str, str]:
    """What a service sees of our environment: provider keys reach llm-gateway only."""
    if part.name == PROVIDER_SERVICE:
        return dict(environment)
    own = INHERITED_SECRETS.get(part.name, frozenset())
    return {name: value for name, value in environment.items() if name in own or not is_secret(name)}


async def _first(done: Callable[[], bool], stop: asyncio.Event) -> None:
    while not done() and not stop.is_set():
        await _wait(stop, WATCH_SECONDS)


async def _wait(stop: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return

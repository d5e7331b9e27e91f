"""`runyard up`, `status` and `down`."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import psutil
import typer
from rich.table import Table

from runyard_stack.cli.banner import banner
from runyard_stack.cli.screen import err, out, problems_explained
from runyard_stack.credentials import Credentials, load_credentials, read_credentials
from runyard_stack.embedded.child import tail
from runyard_stack.errors import StackError
from runyard_stack.layout import Layout, layout_from_environment
from runyard_stack.probe import ask_ready
from runyard_stack.state import State, is_locked, read_state
from runyard_stack.taking_down import leave_no_sandboxes, mark_as_taken_down
from runyard_stack.tokens import admin_token

DETACHED_READY_SECONDS = 120.0
STOP_SECONDS = 20.0
REST_SECONDS = 60.0
"""What `down` waits for: sandboxes have to come to rest before the services end."""
POLL_SECONDS = 0.05
NOT_RUNNING = 3


def up(
    *,
    processes: Annotated[bool, typer.Option("--processes", help="One process per service.")] = False,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Run in the background.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show the services' logs.")] = False,
    background: Annotated[bool, typer.Option("--background", hidden=True)] = False,
) -> None:
    """Start NATS, PostgreSQL and all services; Ctrl-C stops them."""
    with problems_explained():
        layout = layout_from_environment()
        layout.create()
        if detach:
            _up_detached(layout, processes=processes)
        else:
            _up_here(layout, processes=processes, verbose=verbose, background=background)


def _up_here(layout: Layout, *, processes: bool, verbose: bool, background: bool) -> None:
    err.print(f"Starting on {layout.home} ...", markup=False)
    from runyard_chassis.logs import configure_logging  # noqa: PLC0415 - the other commands do without
    from runyard_chassis.service import run_until_signal  # noqa: PLC0415
    from runyard_stack.accounts import NATS_USERS  # noqa: PLC0415
    from runyard_stack.progress import ConsoleProgress  # noqa: PLC0415
    from runyard_stack.secrecy import redactor  # noqa: PLC0415
    from runyard_stack.supervisor import Stack  # noqa: PLC0415

    def announce(state: State, credentials: Credentials, seconds: float) -> None:
        if background:  # its output is a log, where no token belongs: who started it prints the banner
            err.print(f"Ready in {seconds:.1f} s.")
            return
        out.print(banner(layout, state, admin_token(credentials, os.environ), seconds), markup=False)
        if err.is_terminal:
            err.print("Ctrl-C stops everything.")

    stack = Stack(layout, ConsoleProgress(err), processes=processes, on_ready=announce)
    level = os.environ.get("LOG_LEVEL", "INFO")

    async def run(stop: asyncio.Event) -> None:
        await stack.run(stop)
        err.print("Stopped; all data is kept.")

    with (layout.logs / "services.log").open("a", buffering=1) as log:
        configure_logging(
            level,
            format="auto" if verbose else "json",
            redactor=redactor(load_credentials(layout.credentials, NATS_USERS), os.environ),
            stream=sys.stderr if verbose else log,
        )
        run_until_signal(run)


def _up_detached(layout: Layout, *, processes: bool) -> None:
    if is_locked(layout.lock):
        raise StackError(
            f"A stack already runs on {layout.home}.",
            "See it with `runyard status`, stop it with `runyard down`.",
        )
    log = layout.logs / "stack.log"
    argv = [sys.executable, "-m", "runyard_stack", "up", "--background", *(["--processes"] if processes else [])]
    began = time.monotonic()
    with log.open("w") as file:
        child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True)
    try:
        with err.status("Starting ..."):
            state = _wait_until_ready(layout, child, log)
    except KeyboardInterrupt:
        child.terminate()
        child.wait(STOP_SECONDS)
        raise
    credentials = read_credentials(layout.credentials)
    if credentials is not None:
        token = admin_token(credentials, os.environ)
        out.print(banner(layout, state, token, time.monotonic() - began), markup=False)
    err.print(f"Runs in the background (pid {child.pid}); stop it with `runyard down`. Log: {log}")


def _wait_until_ready(layout: Layout, child: "subprocess.Popen[bytes]", log: Path) -> State:
    deadline = time.monotonic() + DETACHED_READY_SECONDS
    while time.monotonic() < deadline:
        if child.poll() is not None:
            raise StackError(f"The stack did not start:\n{tail(log, 12)}", f"The whole log is in {log}.")
        state = read_state(layout)
        if state is not None and state.pid == child.pid and state.phase == "ready":
            return state
        time.sleep(POLL_SECONDS)
    child.terminate()
    raise StackError(f"Not ready in time:\n{tail(log, 12)}", f"The whole log is in {log}.")


def down() -> None:
    """Stop the stack of this data folder."""
    with problems_explained():
        layout = layout_from_environment()
        if not is_locked(layout.lock):
            err.print(f"No stack runs on {layout.home}.")
            asyncio.run(_remove_what_it_left(layout))
            return
        pid = int(layout.lock.read_text().strip())
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        with err.status(f"Stopping the stack (pid {pid}) ..."):
            deadline = time.monotonic() + REST_SECONDS
            while is_locked(layout.lock):
                if time.monotonic() > deadline:
                    raise StackError(
                        f"The stack (pid {pid}) did not stop within {REST_SECONDS:.0f} s.",
                        f"Try again, or kill it and try again: kill -9 {pid} (the servers it started end with it).",
                    )
                time.sleep(POLL_SECONDS)
        err.print("Stopped; all data is kept.")


async def _remove_what_it_left(layout: Layout) -> None:
    """A stack that was killed leaves its containers at work; a composed one on the same folder is not ours to end."""
    credentials = read_credentials(layout.credentials)
    answers = [await ask_ready(layout.port(name)) for name in ("gateway", "orchestrator")]
    if credentials is None or any(words != "not listening" for _, words in answers):
        return
    mark_as_taken_down(layout)
    removed, problem = await leave_no_sandboxes(credentials.installation, os.environ)
    if removed:
        err.print("What it had left on the Docker engine was removed; all data is kept.")
    elif problem and os.environ.get("SANDBOX") == "docker":
        err.print(problem, markup=False)


def status() -> None:
    """What runs on this data folder. Exit code 0 (ready), 1 (not all ready) or 3 (not running)."""
    with problems_explained():
        layout = layout_from_environment()
        state = read_state(layout)
        if state is None:
            out.print(f"No stack runs on {layout.home}.")
            raise typer.Exit(NOT_RUNNING)
        answers = asyncio.run(_ask_all(state))
        out.print(
            f"Stack on {layout.home}: {state.phase}, pid {state.pid}, since {state.started_at:%Y-%m-%d %H:%M} UTC"
        )
        table = Table(box=None, pad_edge=False)
        for column in ("service", "address", "state"):
            table.add_column(column)
        for name, (ready, words) in answers.items():
            table.add_row(name, state.addresses[name], f"[{'green' if ready else 'red'}]{words}[/]")
        out.print(table)
        out.print(
            f"Memory {_memory_mb(state.pid):.0f} MB with all servers. Models: {state.model_source}",
            markup=False,
        )
        if state.phase != "ready" or not all(ready for ready, _ in answers.values()):
            raise typer.Exit(1)


async def _ask_all(state: State) -> dict[str, tuple[bool, str]]:
    ports = {name: int(address.rpartition(":")[2]) for name, address in state.addresses.items()}
    answers = await asyncio.gather(*(ask_ready(port) for port in ports.values()))
    return dict(zip(ports, answers, strict=True))


def _memory_mb(pid: int) -> float:
    """Proportional memory of the stack and its children; shared pages are counted once."""
    total = 0
    with contextlib.suppress(psutil.Error):
        parent = psutil.Process(pid)
        for process in (parent, *parent.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                info = process.memory_full_info()
                total += getattr(info, "pss", info.rss)
    return total / 2**20

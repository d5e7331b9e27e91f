"""The command as a person types it, on the real services: up, status, token, doctor, down, and what survives."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import psutil
import pytest

from runyard_stack.credentials import load_credentials
from runyard_stack.embedded.ports import is_free
from runyard_stack.layout import Layout

pytestmark = pytest.mark.timeout(240)


class Command:
    """`runyard` with a data folder and ports of its own."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        kept = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
        self.environment = kept | {
            "RUNYARD_HOME": str(layout.home),
            "RUNYARD_PORT_BASE": str(layout.port_base),
        }

    def __call__(self, *arguments: str, expect: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "runyard_stack", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
        )
        assert done.returncode == expect, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    @property
    def pid(self) -> int:
        return int(self.layout.lock.read_text())


@pytest.fixture
def runyard(free_layout: Layout) -> Iterator[Command]:
    command = Command(free_layout)
    yield command
    command("down")


def test_a_stack_lives_from_up_to_down_and_its_data_longer(runyard: Command) -> None:
    assert "No stack runs" in runyard("status", expect=3)

    said = runyard("up", "--detach")

    assert "Runyard is ready" in said
    assert "scripted offline model" in said
    token = runyard("token").strip()
    assert token.count(".") == 2
    assert " " not in token
    status = runyard("status")
    assert all(name in status for name in ("gateway", "orchestrator", "workspace", "llm-gateway"))
    assert "already runs on" in runyard("up", expect=1)
    assert "already runs on" in runyard("up", "--detach", expect=1)
    assert "Everything that is needed is there" in runyard("doctor")
    assert "No runs yet" in runyard("runs")
    assert "No run begins with" in runyard("replay", "abc", expect=1)
    assert "no such run" in runyard("cancel", "2f9a695e-be39-5b81-ad22-ed7527625a42", expect=1).lower()
    credentials = load_credentials(runyard.layout.credentials)
    for log in runyard.layout.logs.iterdir():
        text = log.read_text()
        assert credentials.jwt_secret_key not in text
        assert credentials.postgres_password not in text
        assert "eyJ" not in text

    assert "all data is kept" in runyard("down")

    assert "No stack runs" in runyard("status", expect=3)
    assert all(is_free(runyard.layout.port(name)) for name in ("gateway", "nats", "postgres"))
    assert load_credentials(runyard.layout.credentials) == credentials


def test_a_stack_that_was_killed_leaves_no_process_and_starts_again(runyard: Command) -> None:
    runyard("up", "--detach")
    supervisor = psutil.Process(runyard.pid)
    family = supervisor.children(recursive=True)

    os.kill(supervisor.pid, signal.SIGKILL)

    _, alive = psutil.wait_procs(family, timeout=15)
    assert not alive
    assert "No stack runs" in runyard("status", expect=3)
    assert "Runyard is ready" in runyard("up", "--detach")


def test_services_as_processes_are_restarted_when_killed(runyard: Command) -> None:
    runyard("up", "--detach", "--processes")
    pidfile = runyard.layout.home / "run" / "orchestrator.pid"
    first = int(pidfile.read_text().split()[0])
    os.kill(first, signal.SIGKILL)
    psutil.wait_procs([psutil.Process(first)] if psutil.pid_exists(first) else [], timeout=10)
    log = runyard.layout.logs / "stack.log"
    until(lambda: "orchestrator died (code -9)" in log.read_text())
    until(lambda: runyard_status(runyard) == 0)
    assert int(pidfile.read_text().split()[0]) != first


def until(done: Callable[[], bool]) -> None:
    """Another process cannot set an event of ours: look now and then."""
    while not done():
        time.sleep(0.05)


def runyard_status(runyard: Command) -> int:
    argv = [sys.executable, "-m", "runyard_stack", "status"]
    return subprocess.run(argv, env=runyard.environment, capture_output=True, check=False).returncode

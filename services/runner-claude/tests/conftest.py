"""The scripted model of llm-gateway, as a server of its own."""

import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def model_url() -> Iterator[str]:
    """The scripted model of llm-gateway, in a process of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    argv = [sys.executable, "-m", "runyard_llm_gateway.providers.scripted", "--port", str(port)]
    with subprocess.Popen(argv) as process:
        wait_for_listener(port, process)
        yield f"http://127.0.0.1:{port}"
        process.terminate()


def wait_for_listener(port: int, process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None:
        with socket.socket() as probe:
            probe.settimeout(0.05)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
    pytest.fail("the scripted model did not start")

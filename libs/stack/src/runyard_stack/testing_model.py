"""The scripted model of llm-gateway as a server of its own, for tests and benchmarks without a stack."""

import socket
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager

from runyard_stack.embedded.ports import LOOPBACK, free_port

START_SECONDS = 30


@contextmanager
def scripted_model() -> Generator[str]:
    """Starts it and gives its base address, of every API that it speaks.

    Raises:
        RuntimeError: it ended, or did not listen within `START_SECONDS`.
    """
    port = free_port()
    argv = [sys.executable, "-m", "runyard_llm_gateway.providers.scripted", "--port", str(port)]
    server = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _await_listening(server, port)
        yield f"http://{LOOPBACK}:{port}"
    finally:
        server.terminate()
        server.wait(10)


def _await_listening(server: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while server.poll() is None and time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex((LOOPBACK, port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError("the scripted model did not start")

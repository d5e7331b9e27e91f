"""A runner in a container gets the token of a run from llm-gateway, which may be away for a while."""

import asyncio
import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import cast

import pytest

from runyard_events.commands import StartRun
from runyard_runner.adapter import AgentFailed
from runyard_runner.run_tokens import ExchangedRunTokens

ORDER = StartRun(
    session_id="s",
    run_id="r",
    workspace_id="w",
    runner_type="codex",
    prompt="",
    thread_id="t",
    working_directory="/",
    approval_policy="never",
    time_limit_seconds=60,
)


class Gateway(ThreadingHTTPServer):
    """Answers each request with the next of these statuses, then with a token; None: not at all."""

    def __init__(self, *statuses: int | None) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        self.statuses = list(statuses)


class Answering(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        statuses = cast("Gateway", self.server).statuses
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        status = statuses.pop(0) if statuses else 201
        if status is None:
            return
        body = json.dumps({"token": f"of {asked['run_id']}"}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Says nothing."""


@contextmanager
def gateway(*statuses: int | None) -> Generator[str]:
    server = Gateway(*statuses)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


async def test_a_gateway_that_is_started_anew_is_waited_for() -> None:
    with gateway(503, None, 503, None, 503, None) as url:
        assert await asyncio.wait_for(ExchangedRunTokens(url, "token").for_run("t", ORDER), 30) == "of r"


async def test_a_refusal_is_final() -> None:
    with gateway(403) as url, pytest.raises(AgentFailed, match="403"):
        await ExchangedRunTokens(url, "token").for_run("t", ORDER)


async def test_nobody_waits_for_a_gateway_for_ever() -> None:
    with gateway(*[503] * 9) as url, pytest.raises(AgentFailed) as failed:
        await ExchangedRunTokens(url, "token", patience_seconds=0.1).for_run("t", ORDER)
    assert failed.value.reason == "start_failed"

"""What is too large for an event is whole in the object store."""

import asyncio
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast

from nats.js import JetStreamContext

from runyard_events.catalogue import DiffUpdated, RawReceived, ToolCall, ToolResult
from runyard_events.redact import Redactor
from runyard_events.subjects import Scope
from runyard_events.topology import OUTPUT_BYTES, OUTPUTS
from runyard_runner.output_store import BucketOutputs, GatewayOutputs
from runyard_runner.outputs import LARGE, LONGEST_TEXT, PREVIEW, Outputs, weight

SECRET = "tok-abcdefgh12345678"


def outputs(jetstream: JetStreamContext) -> Outputs:
    return Outputs(BucketOutputs(jetstream), Scope.run("t", "s", "r"), Redactor.for_secrets([SECRET], "salt"))


async def kept(jetstream: JetStreamContext, reference: str) -> str:
    found = await (await jetstream.object_store(OUTPUTS)).get(reference)
    assert found.data is not None
    return found.data.decode()


async def test_a_large_output_is_a_preview_and_a_reference(jetstream: JetStreamContext) -> None:
    text = f"{SECRET} " + "é" * LARGE
    fitted: Any = await outputs(jetstream).fit(ToolResult(tool_name="shell", output=text, call_id="c"))
    clean = text.replace(SECRET, "[redacted]")
    assert (fitted.truncated, fitted.output, fitted.output_bytes) == (True, clean[:PREVIEW], len(text.encode()))
    assert await kept(jetstream, fitted.output_ref) == clean


async def test_a_large_native_line_is_kept_whole_elsewhere(jetstream: JetStreamContext) -> None:
    fitted: Any = await outputs(jetstream).fit(RawReceived({"method": "big", "data": "x" * (2 * LARGE)}))
    assert fitted.root["truncated"]
    assert fitted.root["preview"].startswith('{"method": "big"')
    assert (await kept(jetstream, fitted.root["ref"])).endswith('x"}')


async def test_small_payloads_pass_untouched(jetstream: JetStreamContext) -> None:
    for payload in (
        ToolResult(tool_name="t", output={"a": [1]}),
        RawReceived({"a": 1}),
        ToolCall(tool_name="t", input=1),
    ):
        assert await outputs(jetstream).fit(payload) is payload


async def test_long_texts_without_a_reference_say_that_they_were_cut(jetstream: JetStreamContext) -> None:
    fitted: Any = await outputs(jetstream).fit(DiffUpdated(diff="d" * (LONGEST_TEXT + 7)))
    assert fitted.diff.endswith("\n[7 more characters]")


class Gateway(ThreadingHTTPServer):
    """Answers each request with the next of these statuses, then with 201; None: cuts it off once it was kept."""

    def __init__(self, *statuses: int | None) -> None:
        super().__init__(("127.0.0.1", 0), Keeping)
        self.statuses = list(statuses)
        self.kept: dict[str, bytes] = {}


class Keeping(BaseHTTPRequestHandler):
    def do_PUT(self) -> None:
        server = cast("Gateway", self.server)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status = server.statuses.pop(0) if server.statuses else 201
        if status == 201 and self.path in server.kept:
            status = 409
        if status in (201, None):
            server.kept[self.path] = body
        if status is not None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Says nothing."""


@contextmanager
def gateway(*statuses: int | None) -> Generator[tuple[Gateway, Outputs]]:
    server = Gateway(*statuses)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    store = GatewayOutputs(f"http://127.0.0.1:{server.server_port}", "s", "token")
    yield server, Outputs(store, Scope.run("t", "s", "r"), Redactor.for_secrets([SECRET], "salt"))
    server.shutdown()
    server.server_close()


async def test_an_output_whose_answer_got_lost_is_kept_once() -> None:
    with gateway(503, None) as (server, store):
        fitted: Any = await asyncio.wait_for(store.fit(ToolResult(tool_name="t", output="x" * 2 * LARGE)), 20)
    ((path, body),) = server.kept.items()
    assert path.endswith(fitted.output_ref.removeprefix("t/"))
    assert len(body) == 2 * LARGE


async def test_a_run_goes_on_without_an_output_that_is_refused() -> None:
    with gateway(413, 403) as (server, store):
        fitted: Any = await asyncio.wait_for(store.fit(ToolResult(tool_name="t", output="x" * 2 * LARGE)), 20)
        raw: Any = await asyncio.wait_for(store.fit(RawReceived({"data": "x" * 2 * LARGE})), 20)
    assert not server.kept
    assert (fitted.truncated, fitted.output_ref, fitted.output_bytes) == (True, None, 2 * LARGE)
    assert (raw.root["truncated"], raw.root["ref"]) == (True, None)


async def test_an_output_that_nobody_would_take_is_not_sent() -> None:
    with gateway() as (server, store):
        output = "x" * (OUTPUT_BYTES + 1)
        fitted: Any = await asyncio.wait_for(store.fit(ToolResult(tool_name="t", output=output)), 20)
    assert not server.kept
    assert (fitted.output_ref, fitted.output_bytes) == (None, len(output))


def test_counting_stops_when_it_is_enough() -> None:
    assert weight({"a": ["bb", 1]}, 100) == 19
    assert 1000 < weight(["x" * 600] * 1_000_000, 1000) < 2000

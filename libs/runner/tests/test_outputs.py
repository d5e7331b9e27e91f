"""What is too large for an event is whole in the object store."""

from typing import Any

from nats.js import JetStreamContext

from runyard_events.catalogue import DiffUpdated, RawReceived, ToolCall, ToolResult
from runyard_events.redact import Redactor
from runyard_events.subjects import Scope
from runyard_events.topology import OUTPUTS
from runyard_runner.output_store import BucketOutputs
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


def test_counting_stops_when_it_is_enough() -> None:
    assert weight({"a": ["bb", 1]}, 100) == 19
    assert 1000 < weight(["x" * 600] * 1_000_000, 1000) < 2000

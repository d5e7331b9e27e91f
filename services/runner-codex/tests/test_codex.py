"""The real Codex end to end, on the real log and the scripted model."""

import pytest

from .conftest import MakeBench, script

pytestmark = pytest.mark.agents


async def test_a_plain_message_streams_and_completes(bench: MakeBench) -> None:
    made = await bench()
    events = await made.run(script({"tokens": 50}))
    types = [event.type for event in events]
    assert types[-2:] == ["ui.run.completed", "run.completed"]
    text = "".join(e.payload.text_delta for e in events if e.type == "ui.message.assistant.delta")
    final = [e.payload.text for e in events if e.type == "ui.message.assistant.final"]
    assert final == [text]
    assert events[-1].payload.final_text == text
    assert events[-1].payload.usage.output_tokens > 0



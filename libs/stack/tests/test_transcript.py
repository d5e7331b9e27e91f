"""What the terminal shows of each event, and what never reaches it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runyard_stack.cli.transcript import OUTPUT_LINES, Line, Transcript, clean, summary


def event(kind: str, **payload: Any) -> dict[str, Any]:
    return {"type": kind, "payload": payload}


def shown(*events: dict[str, Any]) -> str:
    transcript = Transcript()
    lines = [line for one in events for line in transcript.feed(one)]
    return "".join(line.text + line.end for line in [*lines, *transcript.close()])


def test_an_answer_streams_once_and_its_final_is_not_repeated() -> None:
    text = shown(
        event("ui.message.assistant.delta", textDelta="Hel", messageId="1"),
        event("ui.message.assistant.delta", textDelta="lo", messageId="1"),
        event("ui.message.assistant.final", text="Hello", messageId="1"),
    )
    assert text == "Hello\n"


def test_an_answer_without_deltas_is_shown_whole() -> None:
    assert shown(event("ui.message.assistant.final", text="Hello", messageId="1")) == "Hello\n"


def test_a_tool_call_breaks_the_line_that_an_answer_left_open() -> None:
    text = shown(
        event("ui.message.assistant.delta", textDelta="Looking", messageId="1"),
        event("ui.tool.call", toolName="shell", input={"command": "ls -la"}, callId="c"),
    )
    assert text == "Looking\n▸ shell  ls -la\n"


def test_live_output_is_shown_line_by_line_and_not_again_at_the_end() -> None:
    text = shown(
        event("ui.tool.output.delta", textDelta="one\ntw", callId="c"),
        event("ui.tool.output.delta", textDelta="o\nlast", callId="c"),
        event("ui.tool.result", toolName="shell", output="one\ntwo\nlast", callId="c", exitCode=0, durationMs=12),
    )
    assert text == "  │ one\n  │ two\n  │ last\n  ✓ exit 0 · 12 ms\n"


def test_long_output_is_cut_and_counted() -> None:
    output = "\n".join(str(number) for number in range(OUTPUT_LINES + 5))
    text = shown(event("ui.tool.result", toolName="cat", output=output, callId="c"))
    assert "… 5 more lines" in text
    assert str(OUTPUT_LINES + 4) not in text


def test_a_failed_command_shows_its_exit_code() -> None:
    text = shown(event("ui.tool.result", toolName="sh", output="", status="failed", exitCode=2))
    assert text == "  ✗ exit 2\n"


@pytest.mark.parametrize(
    ("one", "line"),
    [
        (event("run.started", runnerId="runner-codex-1", model="gpt-5"), "▶ runner-codex-1 · gpt-5"),
        (event("run.resumed", attempt=2), "↻ taken up again (attempt 2)"),
        (event("run.completed", durationMs=3200), "✓ completed · 3.2 s"),
        (event("run.error", reason="runner_lost", message="gone"), "✗ runner_lost: gone"),
        (event("run.cancelled"), "■ cancelled"),
        (event("run.cancel_requested"), "■ asked to stop"),
        (event("ui.file.changed", path="NOTES.md", change="add"), "  + NOTES.md"),
        (event("ui.file.changed", path="a", change="move", movedTo="b"), "  → a → b"),
        (event("ui.plan.updated", steps=[{"text": "Read", "status": "completed"}]), "  ✓ Read"),
        (event("ui.error", message="overloaded", willRetry=True), "! overloaded (trying again)"),
        (event("ui.notice", message="scripted"), "• scripted"),
        (event("ui.approval.resolved", decision="accept_for_session"), "  answered: accept for session"),
        (event("ui.message.user", text="Do it"), "» Do it\n"),
    ],
)
def test_each_event_has_its_line(one: dict[str, Any], line: str) -> None:
    assert shown(one) == f"{line}\n"


def test_an_approval_shows_what_is_asked() -> None:
    text = shown(
        event(
            "ui.approval.requested",
            title="Run a command?",
            detail={"command": ["rm", "-r", "build"]},
            questions=[{"question": "Which one?"}],
        )
    )
    assert text == "? Run a command?\n  rm -r build\n  Which one?\n"


def test_reasoning_is_set_apart_from_the_answer() -> None:
    transcript = Transcript()
    assert transcript.feed(event("ui.reasoning.delta", textDelta="hm", itemId="r")) == [
        Line("hm", "dim italic", end="")
    ]
    assert transcript.feed(event("ui.message.assistant.delta", textDelta="Yes", messageId="m"))[0] == Line("")


def test_what_is_not_for_people_or_not_known_is_passed_over() -> None:
    assert shown(event("raw.codex", anything=1), event("ui.something.new"), {}, {"type": "run.queued"}) == ""


def test_a_tool_cannot_steer_the_terminal() -> None:
    assert clean("\x1b[2J\x1b]0;title\x07red\x1b[31m\r\x00\ttab") == "red\ttab"


def test_a_long_input_is_one_short_line() -> None:
    assert summary({"content": "x\n" * 500}).endswith("…")
    assert "\n" not in summary({"content": "x\n" * 500})
    assert summary(None) == ""


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
kinds = st.sampled_from(
    [
        "run.error",
        "ui.tool.call",
        "ui.tool.result",
        "ui.tool.output.delta",
        "ui.plan.updated",
        "ui.approval.requested",
        "ui.message.assistant.delta",
    ]
)
fields = st.sampled_from(["text", "textDelta", "input", "output", "steps", "questions", "detail", "callId", "exitCode"])


@given(st.lists(st.tuples(kinds, st.dictionaries(fields, json_values, max_size=4)), max_size=6))
def test_no_payload_breaks_the_transcript_or_leaves_an_escape(events: list[tuple[str, dict[str, Any]]]) -> None:
    text = shown(*(event(kind, **payload) for kind, payload in events))
    assert "\x1b" not in text
    assert "\x07" not in text

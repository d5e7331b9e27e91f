"""The pure parts: what is open, which approval an ask belongs to, how a run ends, what the log says."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from runyard_events.catalogue import (
    AnyPayload,
    AssistantDelta,
    AssistantFinal,
    ReasoningDelta,
    ReasoningFinal,
    RunApprovalRequested,
    RunApprovalResolved,
    RunCancelRequested,
    RunCompleted,
    RunResumed,
    RunStarted,
    RunThreadBound,
    SubagentEnded,
    SubagentStarted,
    ToolCall,
    ToolOutputDelta,
    ToolResult,
    Usage,
)
from runyard_runner.adapter import Ask, Decision, TurnEnd
from runyard_runner.approvals import Approvals, fingerprint
from runyard_runner.control import Cancelled, Superseded, TimeIsUp
from runyard_runner.ending import ending
from runyard_runner.open_items import PREVIEW, OpenItems
from runyard_runner.state import Approval, RunState

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def ui_event(kind: int, key: str) -> AnyPayload:
    """One of everything that begins or ends an item."""
    every: tuple[AnyPayload, ...] = (
        AssistantDelta(text_delta="x", message_id=key),
        AssistantFinal(text="x", message_id=key),
        ReasoningDelta(text_delta="x", item_id=key),
        ReasoningFinal(text="x", item_id=key),
        ToolCall(tool_name="t", input=None, call_id=key),
        ToolOutputDelta(text_delta="x", call_id=key),
        ToolResult(tool_name="t", output="", call_id=key),
        SubagentStarted(subagent_id=key),
        SubagentEnded(subagent_id=key, status="completed"),
    )
    return every[kind]


UI = st.builds(ui_event, st.integers(0, 8), st.sampled_from(["a", "b", "c"]))


def observed(*payloads: AnyPayload) -> OpenItems:
    items = OpenItems()
    for payload in payloads:
        items.observe(payload)
    return items


@given(st.lists(UI, max_size=40))
def test_after_closing_nothing_is_open(payloads: list[AnyPayload]) -> None:
    items = observed(*payloads)
    closing = items.closing()
    assert items.closing() == ()
    assert observed(*payloads, *closing).closing() == ()


def test_a_cut_off_message_is_closed_with_what_was_said() -> None:
    items = observed(
        AssistantDelta(text_delta="half ", message_id="m"), AssistantDelta(text_delta="a word", message_id="m")
    )
    assert items.closing() == (AssistantFinal(text="half a word", message_id="m", interrupted=True),)


def test_a_tool_without_result_is_closed_with_the_output_that_was_seen() -> None:
    items = observed(
        ToolCall(tool_name="shell", input="x", call_id="c"),
        ToolOutputDelta(text_delta="y" * (PREVIEW + 10), call_id="c"),
        ToolOutputDelta(text_delta="z", call_id="c"),
    )
    (result,) = items.closing()
    assert result == ToolResult(tool_name="shell", output="y" * PREVIEW, call_id="c", status="interrupted")


ASK = Ask(key="1", kind="command", title="rm", detail={"command": "rm", "cwd": "/w"})
AGAIN = Ask(key="9", kind="command", title="rm", detail={"cwd": "/w", "command": "rm"})
OTHER = Ask(key="2", kind="command", title="ls", detail={"command": "ls", "cwd": "/w"})


def test_the_same_question_has_the_same_fingerprint_and_another_has_not() -> None:
    assert fingerprint(ASK) == fingerprint(AGAIN)
    assert fingerprint(ASK) != fingerprint(OTHER)


def test_a_new_ask_is_a_new_approval_each_time() -> None:
    approvals = Approvals.after("run", {})
    first, second = approvals.bind(ASK), approvals.bind(AGAIN)
    assert not first.known
    assert first.approval_id != second.approval_id


def test_after_a_take_up_the_same_ask_is_the_same_approval_once() -> None:
    stored = Approval("a1", fingerprint(ASK))
    approvals = Approvals.after("run", {"a1": stored})
    bound = approvals.bind(AGAIN)
    assert (bound.approval_id, bound.known, bound.decision) == ("a1", True, None)
    assert approvals.answered("a1", Decision(kind="accept")) == "9"
    assert not approvals.bind(ASK).known


def test_an_answer_given_meanwhile_is_used_at_once() -> None:
    accepted = Decision(kind="accept")
    approvals = Approvals.after("run", {"a1": Approval("a1", fingerprint(ASK), accepted)})
    assert approvals.bind(AGAIN).decision == accepted
    later = Approvals.after("run", {"a1": Approval("a1", fingerprint(ASK))})
    assert later.answered("a1", accepted) is None
    assert later.bind(AGAIN).decision == accepted


def test_a_second_answer_reaches_nobody() -> None:
    approvals = Approvals.after("run", {})
    bound = approvals.bind(ASK)
    assert approvals.answered(bound.approval_id, Decision(kind="accept")) == "1"
    assert approvals.answered(bound.approval_id, Decision(kind="decline")) is None
    assert approvals.withdrawn("1") is None


def test_an_approval_id_is_not_used_twice_after_a_take_up() -> None:
    first = Approvals.after("run", {}).bind(ASK)
    stored = {first.approval_id: Approval(first.approval_id, first.fingerprint)}
    second = Approvals.after("run", stored)
    second.bind(AGAIN)
    assert second.bind(ASK).approval_id != first.approval_id


def end(status: str, **fields: object) -> TurnEnd:
    return TurnEnd(status=status, **fields)  # type: ignore[arg-type]


def test_a_turn_that_completed_is_completed_even_when_it_was_to_be_stopped() -> None:
    usage = Usage(output_tokens=3)
    *_, last = ending(end("completed", usage=usage), Cancelled("u"), duration_ms=5, time_limit=9)
    assert last == RunCompleted(duration_ms=5, usage=usage)


def test_every_other_end_has_its_reason() -> None:
    cases = [
        (end("interrupted"), Cancelled("u", "why"), ("run.cancelled", "why")),
        (None, Cancelled("u", "why"), ("run.cancelled", "why")),
        (None, TimeIsUp(), ("run.error", "time_limit")),
        (end("error", reason="model_error"), None, ("run.error", "model_error")),
        (end("interrupted"), None, ("run.error", "agent_error")),
        (None, Superseded(), ("run.error", "agent_error")),
    ]
    for turn, interruption, expected in cases:
        twin, last = ending(turn, interruption, duration_ms=1, time_limit=1)
        assert (last.TYPE, getattr(last, "reason", None)) == expected
        assert f"ui.{last.TYPE}" == twin.TYPE


def test_the_state_of_a_run_follows_from_its_events() -> None:
    history: list[AnyPayload] = [
        RunStarted(runner_id="r1", attempt=1),
        RunThreadBound(native_thread_id="t"),
        RunApprovalRequested(approval_id="a", ask_kind="command", title="", detail={}, options=(), fingerprint="f"),
        RunApprovalResolved(approval_id="a", decision="accept"),
        RunResumed(runner_id="r2", attempt=2, reason="runner_lost"),
        RunCancelRequested(requested_by="u"),
    ]
    state = RunState()
    for seq, payload in enumerate(history, start=10):
        state = state.evolve(payload, seq, NOW)
    assert (state.attempt, state.runner_id, state.native_thread_id, state.last_seq) == (2, "r2", "t", 15)
    assert state.cancel == history[-1]
    assert state.started_at == NOW
    assert state.approvals["a"].decision == Decision(kind="accept")
    assert state.terminal is None
    assert state.evolve(RunCompleted(), 16, NOW).terminal == "run.completed"

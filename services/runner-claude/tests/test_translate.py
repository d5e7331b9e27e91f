"""Every kind of line that Claude writes, against what it means."""

import json
from pathlib import Path
from typing import Any

import pytest

from runyard_runner.adapter import Native
from runyard_runner_claude.translate import Translator

FIXTURES = Path(__file__).parent / "fixtures"
CWD = Path("/workspaces/w1/repo")


def load(name: str) -> dict[str, Any]:
    return json.loads((FIXTURES / name).read_text())


SAMPLES = {
    name: sample
    for name, sample in {**load("claude_messages.json"), **load("claude_control.json")}.items()
    if not name.startswith("out:")
}
MEANINGS = load("meanings.json")


def meaning(native: Native) -> dict[str, Any]:
    """A native without its raw line, and without what is empty, as JSON."""
    known = {
        "neutral": [
            {"type": each.TYPE, **each.model_dump(mode="json", exclude_defaults=True)} for each in native.neutral
        ],
        "thread": native.thread,
        "answered": native.answered,
        "ask": native.ask and {"kind": native.ask.kind, "title": native.ask.title, "key": native.ask.key},
        "end": native.end and {"status": native.end.status, "final_text": native.end.final_text},
    }
    return {name: value for name, value in known.items() if value}


def turn_lines() -> list[dict[str, Any]]:
    return [json.loads(line) for line in (FIXTURES / "turn.jsonl").read_text().splitlines()]


def test_each_sample_has_a_meaning_on_record() -> None:
    assert set(MEANINGS) == set(SAMPLES)


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_a_sample_means_what_is_on_record_and_keeps_its_raw_line(name: str) -> None:
    native = Translator(CWD).received(SAMPLES[name])
    assert native.raw == SAMPLES[name]
    assert meaning(native) == MEANINGS[name]


def test_a_whole_turn_of_the_real_agent_means_what_is_on_record() -> None:
    translator = Translator(CWD)
    meanings = [meaning(translator.received(line)) for line in turn_lines()]
    assert [each for each in meanings if each] == load("turn_meaning.json")


def test_deltas_and_finals_of_a_block_share_its_id() -> None:
    translator = Translator(CWD)
    streamed: dict[str, str] = {}
    finals: dict[str, str] = {}
    for line in turn_lines():
        for payload in meaning(translator.received(line)).get("neutral", []):
            item = payload.get("messageId") or payload.get("itemId")
            if item is None:
                continue
            if payload["type"].endswith(".delta"):
                streamed[item] = streamed.get(item, "") + payload["textDelta"]
            elif payload["type"].endswith(".final"):
                finals[item] = payload["text"]
    assert finals
    assert streamed == finals


def test_only_the_idle_state_after_a_result_ends_the_turn() -> None:
    translator = Translator(CWD)
    idle = {**SAMPLES["system:session_state_changed"], "state": "idle"}
    assert translator.received(idle).end is None
    assert translator.received(SAMPLES["result:success"]).end is None
    ended = translator.received(idle).end
    assert ended is not None
    assert (ended.status, ended.final_text) == ("completed", "Sub-agent finished.")


def test_two_results_of_one_prompt_are_counted_together() -> None:
    translator = Translator(CWD)
    translator.received(SAMPLES["result:success"])
    native = translator.received(SAMPLES["result:success"])
    assert meaning(native)["neutral"][0]["outputTokens"] == 200
    end = translator.left().end
    assert end is not None
    assert end.usage is not None
    assert (end.usage.input_tokens, end.usage.cached_input_tokens) == (2 * 3720, 3200)


@pytest.mark.parametrize(
    ("result", "status", "reason", "message"),
    [
        ("result:success", "completed", None, None),
        ("result:success:is_error", "error", "model_error", "Failed to authenticate. API Error: 401 bad key (fake)"),
        ("result:error_during_execution:is_error", "interrupted", None, None),
        ("result:error_max_turns:is_error", "error", "agent_error", "Reached maximum number of turns (1)"),
        ("result:error_max_budget_usd:is_error", "error", "agent_error", "Reached maximum budget ($0.001)"),
    ],
)
def test_the_end_follows_the_result(result: str, status: str, reason: str | None, message: str | None) -> None:
    translator = Translator(CWD)
    translator.received(SAMPLES[result])
    end = translator.left().end
    assert end is not None
    assert (end.status, end.reason, end.message) == (status, reason, message)


def test_an_interrupted_turn_without_a_result_is_interrupted() -> None:
    translator = Translator(CWD)
    assert not translator.settled
    translator.interrupted = True
    assert translator.settled
    end = translator.left().end
    assert end is not None
    assert end.status == "interrupted"


def test_a_withdrawn_permission_request_names_the_ask_it_belonged_to() -> None:
    translator = Translator(CWD)
    request = SAMPLES["in:control_request:can_use_tool"]
    ask = translator.received(request).ask
    assert ask is not None
    cancel = {"type": "control_cancel_request", "request_id": request["request_id"]}
    assert translator.received(cancel).answered == ask.key
    assert translator.received(cancel).answered is None


def test_the_policy_never_turns_no_request_into_an_ask() -> None:
    translator = Translator(CWD, asks=False)
    assert translator.received(SAMPLES["in:control_request:can_use_tool"]).ask is None


def test_the_end_of_a_sub_agent_is_told_once() -> None:
    translator = Translator(CWD)
    started = {**SAMPLES["system:task_started"], "task_id": "t1"}
    notified = {**SAMPLES["system:task_notification"], "task_id": "t1"}
    assert meaning(translator.received(started))["neutral"][0]["type"] == "ui.subagent.started"
    assert meaning(translator.received(notified))["neutral"][0]["status"] == "completed"
    assert meaning(translator.received(notified)) == {}


def test_a_sub_agents_words_stay_in_the_raw_lines_but_its_tools_are_told() -> None:
    translator = Translator(CWD)
    assert meaning(translator.received(SAMPLES["assistant:thinking"])) == {}
    line = {**SAMPLES["assistant:tool_use"], "parent_tool_use_id": "toolu_parent"}
    (call,) = meaning(translator.received(line))["neutral"]
    assert call["parentCallId"] == "toolu_parent"


@pytest.mark.parametrize("line", [{}, {"type": "system"}, {"type": "assistant"}, {"type": "stream_event", "event": 3}])
def test_an_unknown_or_misshapen_line_is_raw_and_means_nothing(line: dict[str, Any]) -> None:
    assert Translator(CWD).received(line) == Native(raw=line)

"""What was ever written stays readable, and what is not known passes through."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runyard_events import Malformed, Scope, decode, encode, event_id, stamp
from runyard_events.catalogue import BY_TYPE, AssistantDelta, RawReceived, SandboxRequested, ToolCall, Unknown
from runyard_events.upcast import Upcaster, upcast

sys.path.insert(0, str(Path(__file__).parent))
from examples import EXAMPLES, GOLDEN, envelope, golden_path

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def test_every_type_has_an_example() -> None:
    assert set(EXAMPLES) == set(BY_TYPE)


@pytest.mark.parametrize("name", sorted(BY_TYPE))
def test_the_current_version_of_every_type_has_a_golden_file(name: str) -> None:
    path = golden_path(name, BY_TYPE[name].VERSION)
    assert path.exists(), f"run python {Path(__file__).parent.name}/examples.py"
    assert json.loads(encode(envelope(name))) == json.loads(path.read_text())


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.json")), ids=lambda path: path.stem)
def test_every_version_ever_written_is_read_into_the_current_model(path: Path) -> None:
    event = decode(path.read_bytes())
    assert isinstance(event.payload, BY_TYPE[event.type])
    assert event.version == BY_TYPE[event.type].VERSION


@given(payload=json_values, event_type=st.sampled_from(["ui.from.the.future", "x", "run.abducted"]))
def test_an_unknown_type_is_kept_as_it_came(payload: Any, event_type: str) -> None:
    raw = {**json.loads(encode(envelope("ui.run.completed"))), "type": event_type, "payload": payload}
    event = decode(json.dumps(raw).encode())
    assert isinstance(event.payload, Unknown)
    assert json.loads(encode(event)) == raw


def test_a_later_version_of_a_known_type_is_kept_as_it_came() -> None:
    raw = {**json.loads(encode(envelope("ui.run.completed"))), "version": 99, "payload": {"new": 1}}
    event = decode(json.dumps(raw).encode())
    assert (event.version, event.payload) == (99, Unknown({"new": 1}))


@given(json_values)
def test_native_lines_come_back_untouched(native: Any) -> None:
    scope = Scope.run("t", "s", "r")
    event = stamp(RawReceived(native), scope=scope, source="x", seq=1)
    assert decode(encode(event)) == event
    assert json.loads(encode(event))["payload"] == native


@given(text=st.text(max_size=200), value=json_values)
def test_what_is_encoded_is_decoded_the_same(text: str, value: Any) -> None:
    scope = Scope.run("t", "s", "r")
    for payload in (AssistantDelta(text_delta=text), ToolCall(tool_name=text, input=value)):
        event = stamp(payload, scope=scope, source="x", seq=1)
        assert decode(encode(event)) == event


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"null", b'"x"', b"{", b'{"type":"ui.run.completed"}', b"\xff"])
def test_what_is_no_event_is_malformed(data: bytes) -> None:
    with pytest.raises(Malformed):
        decode(data)


def test_a_payload_with_an_unknown_field_is_malformed() -> None:
    raw = {**json.loads(encode(envelope("ui.run.completed"))), "payload": {"extra": 1}}
    with pytest.raises(Malformed):
        decode(json.dumps(raw).encode())


def test_upcasters_are_chained_from_the_stored_version_to_the_current_one() -> None:
    chain: dict[tuple[str, int], Upcaster] = {
        ("t", 1): lambda old: {"first": old["name"]},
        ("t", 2): lambda old: {**old, "last": ""},
    }
    assert upcast("t", 1, {"name": "a"}, current=3, upcasters=chain) == {"first": "a", "last": ""}
    assert upcast("t", 2, {"first": "a"}, current=3, upcasters=chain) == {"first": "a", "last": ""}
    with pytest.raises(Malformed):
        upcast("t", 3, {}, current=4, upcasters=chain)


@pytest.mark.parametrize(
    ("purpose", "reason"), [("run", "prompt"), ("user", "user"), ("recovery", "replaced"), ("pool", "pool")]
)
def test_a_container_of_former_times_was_requested_for_the_reason_that_its_purpose_names(
    purpose: str, reason: str
) -> None:
    raw = json.loads(golden_path("sandbox.requested", 1).read_text())
    event = decode(json.dumps({**raw, "payload": {**raw["payload"], "purpose": purpose}}).encode())
    assert isinstance(event.payload, SandboxRequested)
    assert (event.payload.purpose, event.payload.reason) == (purpose, reason)


def test_an_event_has_the_same_id_however_often_it_is_stamped() -> None:
    scope = Scope.run("t", "s", "r")
    ids = {stamp(AssistantDelta(text_delta="x"), scope=scope, source="a", seq=3).id for _ in range(3)}
    assert ids == {event_id("r", "a", 3)}

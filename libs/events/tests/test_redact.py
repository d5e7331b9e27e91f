"""Secrets never pass, words always do."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from runyard_events import Redactor
from runyard_events.catalogue import ToolResult

CANARY = "canary-7f3a9b2c4d5e6f70"
redactor = Redactor.for_secrets([CANARY], salt="pepper")


def test_a_known_secret_is_replaced_wherever_it_stands() -> None:
    for text in (
        CANARY,
        f"KEY={CANARY}",
        f'{{"key": "{CANARY}"}}',
        f"/run/secrets/{CANARY}/x",
        f"a\n{CANARY}.",
        f"https://user:{CANARY}@host/path",
        f"Authorization: Bearer {CANARY}",
    ):
        assert CANARY not in redactor.clean(text), text
        assert "[redacted]" in redactor.clean(text)


def test_keys_of_known_shape_are_replaced_without_being_known() -> None:
    shapes = [
        "sk-" + "ant-x03-" + "a1b2" * 6,
        "sk-proj-abcdefghijklmnopqrstuvwxyz",
        "ghp_" + "a1" * 18,
        "AKIA" + "ABCDEFGHIJKLMNOP",
        "-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----",
    ]
    for secret in shapes:
        assert Redactor().clean(f"x {secret} y") == "x [redacted] y", secret


def test_ordinary_text_is_left_alone() -> None:
    text = "def main():\n    path = '/usr/lib/python3.11/site-packages/sklearn'\n    return risk-averse-strategy\n"
    assert redactor.clean(text) == text


def test_a_payload_without_secrets_comes_back_itself() -> None:
    payload = ToolResult(tool_name="bash", output={"stdout": "fine"})
    assert redactor.clean_payload(payload) is payload


def test_a_payload_with_a_secret_comes_back_without() -> None:
    payload = ToolResult(tool_name="bash", output={"stdout": f"KEY={CANARY}", "nested": [CANARY]})
    assert CANARY not in redactor.clean_payload(payload).model_dump_json()


def stream(pieces: list[str]) -> str:
    one = redactor.stream()
    return "".join(one.feed(piece) for piece in pieces) + one.flush()


def cut(text: str, places: list[int]) -> list[str]:
    edges = [0, *sorted(place % (len(text) + 1) for place in places), len(text)]
    return [text[start:end] for start, end in pairwise(edges)]


@given(st.lists(st.integers(0, 200), max_size=8))
def test_a_secret_that_arrives_in_pieces_is_not_shown(places: list[int]) -> None:
    text = f"the key is {CANARY} and sk-proj-abcdefghijklmnopqrstuvwxyz, keep them"
    shown = stream(cut(text, places))
    assert CANARY not in shown
    assert CANARY[8:] not in shown
    assert "abcdefghijklmnopqrstuvwxyz" not in shown
    assert shown.endswith("keep them")


@given(st.text(alphabet="abc -/.\nsk", max_size=80), st.lists(st.integers(0, 200), max_size=8))
def test_text_without_secrets_arrives_whole_however_it_is_cut(text: str, places: list[int]) -> None:
    assert stream(cut(text, places)) == redactor.clean(text)


def test_words_are_not_held_back() -> None:
    one = redactor.stream()
    assert [one.feed(piece) for piece in ("Hello", " wor", "ld", " and more")] == [
        "Hello",
        " wor",
        "ld",
        " and more",
    ]

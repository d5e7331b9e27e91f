"""Deltas are joined, nothing is lost, and nothing overtakes what it may not overtake."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from runyard_events.catalogue import (
    AnyPayload,
    AssistantDelta,
    AssistantFinal,
    Notice,
    RawReceived,
    ToolOutputDelta,
    ToolResult,
)
from runyard_events.redact import Redactor
from runyard_runner.batching import JOINED, Entry, Gathered, delta_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SECRET = "tok-abcdefgh12345678"

ITEMS = st.sampled_from(["a", "b"])
WORDS = st.text(alphabet="ab \n", min_size=1, max_size=40)


def event(kind: int, text: str, item: str) -> AnyPayload:
    """A delta of two kinds, something else, or a raw line."""
    every: tuple[AnyPayload, ...] = (
        AssistantDelta(text_delta=text, message_id=item),
        ToolOutputDelta(text_delta=text, call_id=item),
        Notice(level="info", message=text),
        RawReceived({"text": text}),
    )
    return every[kind]


EVENTS = st.builds(event, st.integers(0, 3), WORDS, ITEMS)


def through(payloads: list[AnyPayload], takes: set[int], redactor: Redactor | None = None) -> list[AnyPayload]:
    """The payloads as they come out when everything is taken after each position in `takes`."""
    gathered = Gathered(redactor)
    out: list[Entry] = []
    for position, payload in enumerate(payloads):
        gathered.add(Entry(payload, NOW))
        if position in takes:
            out += gathered.take()
    return [entry.payload for entry in out + gathered.finish(NOW)]


def texts(payloads: list[AnyPayload]) -> dict[object, str]:
    """The whole text of every item."""
    found: dict[object, str] = {}
    for payload in payloads:
        if delta := delta_of(payload):
            found[delta[0]] = found.get(delta[0], "") + delta[1]
    return found


def neutral(payloads: list[AnyPayload]) -> list[object]:
    """The order of everything but raw lines, deltas joined where they stand side by side."""
    order: list[object] = []
    for payload in payloads:
        if isinstance(payload, RawReceived):
            continue
        delta = delta_of(payload)
        if delta and order and isinstance(order[-1], tuple) and order[-1][0] == delta[0]:
            order[-1] = (delta[0], order[-1][1] + delta[1])
        else:
            order.append(delta or payload)
    return order


@given(st.lists(EVENTS, max_size=60), st.sets(st.integers(0, 60)))
def test_order_and_text_are_kept_whenever_it_is_taken(payloads: list[AnyPayload], takes: set[int]) -> None:
    out = through(payloads, takes)
    assert neutral(out) == neutral(payloads)
    raw = [one for one in payloads if isinstance(one, RawReceived)]
    assert [one for one in out if isinstance(one, RawReceived)] == raw


@given(st.lists(EVENTS, max_size=60), st.sets(st.integers(0, 60)))
def test_a_redactor_without_secrets_changes_nothing(payloads: list[AnyPayload], takes: set[int]) -> None:
    assert texts(through(payloads, takes, Redactor())) == texts(payloads)


@given(st.lists(st.integers(1, 12), max_size=8), st.sets(st.integers(0, 8)))
def test_a_secret_is_not_shown_however_it_is_cut(cuts: list[int], takes: set[int]) -> None:
    whole = f"the key is {SECRET} and more"
    pieces: list[str] = []
    rest = whole
    for cut in cuts:
        pieces.append(rest[:cut])
        rest = rest[cut:]
    payloads: list[AnyPayload] = [
        AssistantDelta(text_delta=piece, message_id="m") for piece in [*pieces, rest] if piece
    ]
    out = through(payloads, takes, Redactor.for_secrets([SECRET], "salt"))
    shown = "".join(texts(out).values())
    assert SECRET not in shown
    assert shown.startswith("the key is ")
    assert shown.endswith(" and more")


def test_deltas_of_one_item_become_one_event_of_at_most_a_kilobyte() -> None:
    out = through([AssistantDelta(text_delta="x" * 100, message_id="m") for _ in range(25)], set())
    lengths = [len(one.text_delta) for one in out if isinstance(one, AssistantDelta)]
    assert lengths == [1000, 1000, 500]
    assert max(lengths) <= JOINED


def test_the_first_delta_waits_for_nothing() -> None:
    gathered = Gathered()
    gathered.add(Entry(AssistantDelta(text_delta="a"), NOW))
    assert [entry.payload for entry in gathered.take()] == [AssistantDelta(text_delta="a")]
    assert not gathered.pressing


def test_what_was_kept_back_is_shown_before_the_item_ends() -> None:
    payloads: list[AnyPayload] = [
        AssistantDelta(text_delta="it is tok-abcd", message_id="m"),
        AssistantFinal(text="it is tok-abcd", message_id="m"),
    ]
    out = through(payloads, set(), Redactor.for_secrets([SECRET], "salt"))
    assert texts(out[:-1]) == texts(payloads)
    assert isinstance(out[-1], AssistantFinal)


def test_the_raw_line_of_a_cut_secret_is_changed_like_its_delta() -> None:
    gathered = Gathered(Redactor.for_secrets([SECRET], "salt"))
    for piece in (SECRET[:10], SECRET[10:], " end"):
        raw = Entry(RawReceived({"delta": piece}), NOW)
        gathered.add(raw)
        gathered.add(Entry(ToolOutputDelta(text_delta=piece, call_id="c"), NOW, cause=raw))
    gathered.add(Entry(ToolResult(tool_name="t", output="", call_id="c"), NOW))
    out = [entry.payload for entry in gathered.finish(NOW)]
    lines = "".join(one.root["delta"] for one in out if isinstance(one, RawReceived))
    assert lines == "[redacted] end"

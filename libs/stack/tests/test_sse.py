"""Reading server-sent events."""

from runyard_stack.cli.sse import Message, messages


def test_messages_carry_their_id_and_comments_are_passed_over() -> None:
    lines = [": connected", "", "id: 7", 'data: {"a":1}', "", ": beat", "", "id: 8", "data: x", "data: y", ""]
    assert list(messages(lines)) == [Message('{"a":1}', "7"), Message("x\ny", "8")]


def test_a_message_that_was_cut_off_is_not_given() -> None:
    assert list(messages(["id: 7", "data: half"])) == []


def test_a_named_event_keeps_its_name_for_itself() -> None:
    assert list(messages(["event: gap", "data: {}", "", "data: x", ""])) == [
        Message("{}", None, "gap"),
        Message("x", None),
    ]

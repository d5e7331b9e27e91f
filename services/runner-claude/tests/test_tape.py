"""The tape between the SDK and the translator."""

import asyncio

from runyard_runner_claude.adapters.tape import Line, Tape


async def test_lines_of_both_directions_keep_their_order() -> None:
    tape = Tape()
    await tape.received({"n": 1})
    tape.sent({"n": 2})
    await tape.received({"n": 3})
    tape.end()
    lines = [await tape.take() for _ in range(4)]
    assert lines == [Line({"n": 1}), Line({"n": 2}, "sent"), Line({"n": 3}), None]


async def test_reading_waits_for_room_and_writing_never_does() -> None:
    tape = Tape(read_ahead=1)
    await tape.received({"n": 1})
    waiting = asyncio.create_task(tape.received({"n": 3}))
    await asyncio.sleep(0)
    tape.sent({"n": 2})
    assert not waiting.done()
    assert await tape.take() == Line({"n": 1})
    assert await tape.take() == Line({"n": 2}, "sent")
    await waiting
    assert await tape.take() == Line({"n": 3})


async def test_who_waits_for_a_line_is_told_that_none_will_come() -> None:
    tape = Tape()
    waiting = asyncio.create_task(tape.take())
    await asyncio.sleep(0)
    tape.end()
    assert await waiting is None

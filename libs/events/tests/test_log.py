"""The log on a real server."""

import asyncio

import pytest
from nats.aio.client import Client

from runyard_events import Append, Conflict, EventLog, Scope, StoredEvent, Writer, new_id, stamp
from runyard_events.catalogue import AssistantDelta, RunRequested, RunStarted, UiRunStarted
from runyard_events.reader import Reader

REQUESTED = RunRequested(prompt="hello", workspace_id="w", runner_type="codex")
STARTED = RunStarted(runner_id="one", attempt=1)


@pytest.fixture
def scope(tenant: str) -> Scope:
    return Scope.run(tenant, new_id(), new_id())


def writer(log: EventLog, scope: Scope, source: str = "runner-codex.1") -> Writer:
    return Writer(log, scope=scope, source=source, provider="codex")


async def everything(log: EventLog, scope: Scope, from_seq: int = 1) -> list[StoredEvent]:
    return [one async for one in log.replay(f"ev.{scope.tenant_id}.>", from_seq=from_seq)]


async def test_what_was_appended_is_replayed_in_order(event_log: EventLog, scope: Scope) -> None:
    one = writer(event_log, scope)
    for number in range(1, 30):
        await one.append(AssistantDelta(text_delta=str(number)))

    events = await everything(event_log, scope)

    assert [stored.event.payload.text_delta for stored in events] == [str(n) for n in range(1, 30)]
    assert [stored.event.seq for stored in events] == list(range(1, 30))


async def test_an_empty_replay_ends_at_once(event_log: EventLog, scope: Scope) -> None:
    async with asyncio.timeout(10):
        assert await everything(event_log, scope) == []


async def test_a_retry_of_the_same_event_is_one_event(event_log: EventLog, scope: Scope) -> None:
    event = stamp(STARTED, scope=scope, source="orchestrator", seq=1)
    append = Append(scope.subject("lifecycle"), event, expect=0)

    first = await event_log.append(append)
    second = await event_log.append(append)

    assert first == second
    assert len(await everything(event_log, scope)) == 1


async def test_the_second_of_two_writers_loses_the_compare_and_set(event_log: EventLog, scope: Scope) -> None:
    winner = stamp(REQUESTED, scope=scope, source="a", seq=1)
    loser = stamp(REQUESTED, scope=scope, source="b", seq=1)
    await event_log.append(Append(scope.subject("lifecycle"), winner, expect=0))

    with pytest.raises(Conflict) as conflict:
        await event_log.append(Append(scope.subject("lifecycle"), loser, expect=0))

    assert conflict.value.last is not None
    assert conflict.value.last.event.id == winner.id


async def test_a_batch_is_written_whole_or_not_at_all(event_log: EventLog, scope: Scope) -> None:
    one = writer(event_log, scope)
    await one.append_all([UiRunStarted(session_id="s"), STARTED], expect={"lifecycle": 0})

    with pytest.raises(Conflict):
        await one.append_all([UiRunStarted(session_id="s"), STARTED], expect={"lifecycle": 0})

    assert [stored.event.type for stored in await everything(event_log, scope)] == [
        "ui.run.started",
        "run.started",
    ]
    assert one.next_seq == 3


async def test_a_batch_repeated_after_a_lost_answer_stands_once(event_log: EventLog, scope: Scope) -> None:
    one = writer(event_log, scope)
    events = [one.stamp(UiRunStarted(session_id="s")), one.stamp(STARTED)]
    appends = [one.place(events[0]), one.place(events[1], 0)]

    first = await event_log.append_all(appends)
    second = await event_log.append_all(appends)

    assert first == second
    assert len(await everything(event_log, scope)) == 2


async def test_many_unguarded_events_repeated_stand_once(event_log: EventLog, scope: Scope) -> None:
    one = writer(event_log, scope)
    events = [one.stamp(AssistantDelta(text_delta=str(n))) for n in range(40)]

    first = await one.write(events)
    second = await one.write(events)

    assert first == second
    assert [stored.event.seq for stored in await everything(event_log, scope)] == list(range(1, 41))


async def test_of_many_rivals_exactly_one_wins(event_log: EventLog, scope: Scope) -> None:
    async def attempt(name: str) -> bool:
        try:
            await writer(event_log, scope, name).append_all(
                [UiRunStarted(session_id=name), STARTED], expect={"lifecycle": 0}
            )
        except Conflict:
            return False
        return True

    results = await asyncio.gather(*(attempt(f"rival-{n}") for n in range(12)))

    assert results.count(True) == 1
    assert len(await everything(event_log, scope)) == 2


async def test_last_reads_the_newest_event_of_a_subject(event_log: EventLog, scope: Scope) -> None:
    assert await event_log.last(scope.subject("lifecycle")) is None
    sequence = await writer(event_log, scope).append(REQUESTED, expect=0)

    last = await event_log.last(scope.subject("lifecycle"))

    assert last is not None
    assert (last.stream_seq, last.event.payload) == (sequence, REQUESTED)


async def test_a_follower_sees_what_was_and_what_comes(event_log: EventLog, scope: Scope) -> None:
    one = writer(event_log, scope)
    await one.append(AssistantDelta(text_delta="1"))
    seen: list[str] = []
    arrived = asyncio.Event()

    async def follow() -> None:
        async for stored in event_log.follow(f"ev.{scope.tenant_id}.>", from_seq=1):
            seen.append(stored.event.payload.text_delta)
            arrived.set()

    task = asyncio.create_task(follow())
    for number in range(2, 6):
        await asyncio.wait_for(arrived.wait(), 20)
        arrived.clear()
        await one.append(AssistantDelta(text_delta=str(number)))
    await asyncio.wait_for(arrived.wait(), 20)
    task.cancel()

    assert seen == ["1", "2", "3", "4", "5"]


async def test_a_replay_from_the_middle_starts_there(event_log: EventLog, scope: Scope) -> None:
    one = writer(event_log, scope)
    sequences = [await one.append(AssistantDelta(text_delta=str(n))) for n in range(6)]

    events = await everything(event_log, scope, from_seq=sequences[3])

    assert [stored.stream_seq for stored in events] == sequences[3:]


async def test_a_reader_that_lost_messages_starts_again_behind_the_last_good_one(
    event_log: EventLog, nats_client: Client, scope: Scope
) -> None:
    one = writer(event_log, scope)
    await one.write([one.stamp(AssistantDelta(text_delta=str(n))) for n in range(50)])
    reader = Lossy(nats_client, "EVENTS", [f"ev.{scope.tenant_id}.>"], from_seq=1)
    seen: list[int] = []

    async with asyncio.timeout(10):
        async for batch in reader.batches():
            seen += [stored.event.seq for stored in batch]
            if len(seen) >= 50:
                break
    await reader.close()

    assert seen == list(range(1, 51))
    assert reader.lost


class Lossy(Reader):
    """Drops one message in the middle of the first delivery."""

    lost = False

    async def open(self) -> None:
        await super().open()
        while not self.lost:
            if len(self._buffer) > 20:
                del self._buffer[10]
                self.lost = True
            await asyncio.sleep(0)


async def test_ten_thousand_events_arrive_whole(event_log: EventLog, scope: Scope) -> None:
    one = writer(event_log, scope)
    await one.write([one.stamp(AssistantDelta(text_delta="x" * 50)) for _ in range(10_000)])

    events = await everything(event_log, scope)

    assert [stored.event.seq for stored in events] == list(range(1, 10_001))

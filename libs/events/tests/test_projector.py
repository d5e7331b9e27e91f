"""A projection is at every moment that of a prefix of the log, and each event is in it once."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
import pytest_asyncio
from nats.aio.client import Client
from sqlalchemy import BigInteger, Column, MetaData, Table, Text, select, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine

from runyard_events import (
    EventLog,
    Inbox,
    Projector,
    Scope,
    StoredEvent,
    Writer,
    checkpoint_table,
    inbox_table,
    new_id,
)
from runyard_events.catalogue import AssistantDelta
from runyard_events.projector import Apply

metadata = MetaData()
checkpoints = checkpoint_table(metadata)
inbox = inbox_table(metadata)
rows = Table("rows", metadata, Column("seq", BigInteger), Column("text", Text))

Sessions = async_sessionmaker[AsyncSession]


@pytest_asyncio.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(database_url.replace("postgresql://", "postgresql+asyncpg://"))
    async with engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
    yield engine
    await engine.dispose()


@pytest.fixture
def sessions(engine: AsyncEngine) -> Sessions:
    return async_sessionmaker(engine)


@pytest.fixture
def writer(event_log: EventLog, tenant: str) -> Writer:
    return Writer(event_log, scope=Scope.run(tenant, new_id(), new_id()), source="test")


async def insert(session: AsyncSession, batch: Sequence[StoredEvent]) -> None:
    for stored in batch:
        said = stored.event.payload.text_delta
        if said == "poison":
            raise ValueError("cannot be projected")
        await session.execute(rows.insert().values(seq=stored.event.seq, text=said))


def projector(event_log: EventLog, client: Client, sessions: Sessions, apply: Apply = insert) -> Projector:
    return Projector(
        name="test-rows",
        log=event_log,
        client=client,
        subjects=["ev.>"],
        sessions=sessions,
        checkpoints=checkpoints,
        apply=apply,
    )


async def projected(sessions: Sessions) -> list[int]:
    async with sessions() as session:
        return [row.seq for row in await session.execute(select(rows.c.seq).order_by(rows.c.seq))]


async def test_rows_follow_the_log_and_readers_can_wait_for_their_own_write(
    event_log: EventLog, nats_client: Client, sessions: Sessions, writer: Writer
) -> None:
    one = projector(event_log, nats_client, sessions)
    task = asyncio.create_task(one.run())
    for _ in range(20):
        sequence = await writer.append(AssistantDelta(text_delta="x"))
        assert await one.reached(sequence, timeout=30)
    task.cancel()

    assert await projected(sessions) == list(range(1, 21))


async def test_two_replicas_apply_each_event_once(
    event_log: EventLog, nats_client: Client, sessions: Sessions, writer: Writer
) -> None:
    replicas = [projector(event_log, nats_client, sessions) for _ in range(3)]
    tasks = [asyncio.create_task(one.run()) for one in replicas]
    sequence = await writer.write([writer.stamp(AssistantDelta(text_delta="x")) for _ in range(300)])
    for one in replicas:
        assert await one.reached(sequence, timeout=30)
    for task in tasks:
        task.cancel()

    assert await projected(sessions) == list(range(1, 301))


async def test_a_restart_goes_on_behind_the_checkpoint(
    event_log: EventLog, nats_client: Client, sessions: Sessions, writer: Writer
) -> None:
    for _ in range(3):
        one = projector(event_log, nats_client, sessions)
        task = asyncio.create_task(one.run())
        sequence = await writer.write([writer.stamp(AssistantDelta(text_delta="x")) for _ in range(50)])
        assert await one.reached(sequence, timeout=30)
        task.cancel()

    assert await projected(sessions) == list(range(1, 151))


async def test_one_bad_event_is_buried_and_the_others_go_on(
    event_log: EventLog, nats_client: Client, sessions: Sessions, writer: Writer
) -> None:
    texts = ["a", "b", "poison", "c"]
    sequence = await writer.write([writer.stamp(AssistantDelta(text_delta=each)) for each in texts])
    one = projector(event_log, nats_client, sessions)
    task = asyncio.create_task(one.run())
    assert await one.reached(sequence, timeout=30)
    task.cancel()

    assert await projected(sessions) == [1, 2, 4]
    letter = await nats_client.jetstream().get_last_msg("DLQ", "dlq.test-rows")
    assert letter.data is not None
    assert b"cannot be projected" in letter.data


async def test_while_the_database_cannot_take_rows_no_event_is_passed_over(
    event_log: EventLog, nats_client: Client, sessions: Sessions, writer: Writer
) -> None:
    """A full disk refuses new rows while the checkpoint, which is there already, can still be moved."""
    async with sessions() as session, session.begin():
        await session.execute(
            text(
                "create function refuse() returns trigger language plpgsql as "
                "$$ begin raise exception 'no space left' using errcode = 'disk_full'; end $$"
            )
        )
        await session.execute(text("create trigger full_disk before insert on rows execute function refuse()"))
    refused, tried = asyncio.Event(), 0

    async def insert_or_fail(session: AsyncSession, batch: Sequence[StoredEvent]) -> None:
        nonlocal tried
        tried += 1
        if tried > 2:
            refused.set()
        await insert(session, batch)

    sequence = await writer.write([writer.stamp(AssistantDelta(text_delta="x")) for _ in range(2)])
    one = projector(event_log, nats_client, sessions, apply=insert_or_fail)
    task = asyncio.create_task(one.run())
    await asyncio.wait_for(refused.wait(), 20)
    assert one.position == 0
    async with sessions() as session, session.begin():
        await session.execute(text("drop trigger full_disk on rows"))
    assert await one.reached(sequence, timeout=30)
    task.cancel()

    assert await projected(sessions) == [1, 2]


async def test_while_all_connections_are_taken_no_event_is_passed_over(
    event_log: EventLog, nats_client: Client, engine: AsyncEngine, sessions: Sessions, writer: Writer
) -> None:
    narrow = create_async_engine(engine.url, pool_size=1, max_overflow=0, pool_timeout=0.05)
    one = projector(event_log, nats_client, async_sessionmaker(narrow))
    task = asyncio.create_task(one.run())
    assert await one.reached(await writer.append(AssistantDelta(text_delta="x")))
    async with narrow.connect():
        sequence = await writer.write([writer.stamp(AssistantDelta(text_delta="x")) for _ in range(2)])
        assert not await one.reached(sequence, timeout=0.5)
        assert not task.done()
    assert await one.reached(sequence, timeout=30)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await narrow.dispose()

    assert await projected(sessions) == [1, 2, 3]


async def test_a_dropped_projection_is_rebuilt_from_the_log(
    event_log: EventLog, nats_client: Client, sessions: Sessions, writer: Writer
) -> None:
    sequence = await writer.write([writer.stamp(AssistantDelta(text_delta="x")) for _ in range(100)])
    one = projector(event_log, nats_client, sessions)
    task = asyncio.create_task(one.run())
    assert await one.reached(sequence, timeout=30)
    task.cancel()
    before = await projected(sessions)
    async with sessions() as session, session.begin():
        await session.execute(rows.delete())
        await session.execute(checkpoints.delete())

    again = projector(event_log, nats_client, sessions)
    task = asyncio.create_task(again.run())
    assert await again.reached(sequence)
    task.cancel()

    assert await projected(sessions) == before


async def test_an_inbox_lets_each_event_through_once(sessions: Sessions) -> None:
    box = Inbox(inbox, "effects")
    async with sessions() as session, session.begin():
        assert await box.first_time(session, "e1")
        assert not await box.first_time(session, "e1")
    async with sessions() as session, session.begin():
        assert not await box.first_time(session, "e1")
        assert await box.first_time(session, "e2")

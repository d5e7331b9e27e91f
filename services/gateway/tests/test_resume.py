"""Whatever happens to its connections, a client that comes back with its last id has seen exactly the log."""

import asyncio
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runyard_events.catalogue import AssistantDelta
from runyard_events.subjects import run_everything

from .clients import SseClient
from .conftest import Running, Start, Story
from .histories import completed, opened, requested

PATIENCE = 20

connections_of_a_client = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 15)), max_size=6)
"""For each connection: how many events are read before it is dropped, how many are appended meanwhile."""


async def read(client: SseClient, at_most: int) -> list[int]:
    """The ids of up to so many events, or of what comes within a moment."""
    seen: list[int] = []
    try:
        async with asyncio.timeout(0.3):
            while len(seen) < at_most and (message := await client.event()) is not None:
                assert message.id is not None
                seen.append(message.id)
    except TimeoutError:
        pass
    return seen


@pytest.mark.timeout(300)
@pytest.mark.parametrize("queue", [2, 4096])
@settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(connections=connections_of_a_client)
async def test_any_disconnects_lose_and_repeat_nothing(
    start_gateway: Start, story: Story, queue: int, connections: list[tuple[int, int]]
) -> None:
    """One run, read over many connections while it is being written; a queue of 2 is cut all the time."""
    async with start_gateway(stream_queue_events=queue) as gateway:
        await broken_up(gateway, story, connections)


async def broken_up(gateway: Running, story: Story, connections: list[tuple[int, int]]) -> None:
    session, run = str(uuid4()), str(uuid4())
    await story.tell(story.session(session), *opened("w"))
    began = await story.tell(story.run(session, run), *requested("w"))
    await gateway.parts.consistency.shows_all(began)
    seen: list[int] = []
    path = f"/api/runs/{run}/events"
    for at_most, appended in connections:
        async with gateway.stream(path, story.tenant, **last_id(seen)) as client:
            words = [AssistantDelta(text_delta="word")] * appended
            writing = asyncio.create_task(story.tell(story.run(session, run), *words)) if words else None
            seen += await read(client, at_most)
            if writing:
                await writing
    await story.tell(story.run(session, run), *completed())
    async with asyncio.timeout(PATIENCE):
        log = [one.stream_seq async for one in story.log.replay(run_everything(story.tenant, session, run))]
        while not seen or seen[-1] != log[-1]:
            async with gateway.stream(path, story.tenant, **last_id(seen)) as client:
                seen += [one.id for one in await client.events() if one.id is not None]
    assert seen == log


def last_id(seen: list[int]) -> dict[str, str]:
    return {"Last_Event_ID": str(seen[-1])} if seen else {}

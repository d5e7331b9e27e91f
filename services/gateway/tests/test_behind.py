"""What a gateway says that was away for a while, before its rows are those of now."""

import asyncio
from contextlib import AsyncExitStack
from uuid import uuid4

from runyard_events.catalogue import PreviewStopped
from runyard_gateway.previews.passes import Holder
from runyard_stack.testing_rows import rows_held

from .conftest import Start, Story
from .histories import completed, opened, previewed, requested, worked
from .sites import NOBODY, visited

SCHEMA = "gateway"


async def test_a_preview_is_not_asked_where_it_was_before_the_gateway_was_away(
    start_gateway: Start, story: Story, tenant: str, database_url: str
) -> None:
    """The port may be another team's by now."""
    preview = str(uuid4())
    visitor = Holder(tenant, preview, "ada")
    begun = previewed(str(uuid4()), address=NOBODY)
    async with start_gateway() as gateway:
        await gateway.parts.consistency.shows(await story.tell(story.preview(preview), *begun))
    stopped = await story.tell(story.preview(preview), PreviewStopped(generation=1, reason="user"))
    async with AsyncExitStack() as behind:
        await behind.enter_async_context(rows_held(database_url, SCHEMA, "gateway-state"))
        async with start_gateway() as gateway:
            assert await visited(gateway, visitor) == "starting"
            await behind.aclose()
            await gateway.parts.consistency.shows(stopped)
            assert await visited(gateway, visitor) == "preview-stopped"


async def test_the_archive_and_the_messages_are_whole_however_far_behind_a_gateway_begins(
    start_gateway: Start, story: Story, tenant: str, database_url: str
) -> None:
    session, run = str(uuid4()), str(uuid4())
    async with start_gateway() as gateway:
        await gateway.parts.consistency.shows(await story.tell(story.session(session), *opened(str(uuid4()))))
    scope = story.run(session, run)
    await story.tell(scope, *requested(str(uuid4()), "hello"))
    await story.tell(scope, *worked(session, words=3), source="runner-codex.1")
    ended = await story.tell(scope, *completed())
    async with AsyncExitStack() as behind:
        await behind.enter_async_context(rows_held(database_url, SCHEMA, "gateway-archive"))
        async with start_gateway() as gateway, gateway.client(tenant) as api:
            await gateway.parts.consistency.shows(ended)
            paths = (f"/api/runs/{run}/archive", f"/api/sessions/{session}/messages")
            asked = [asyncio.create_task(api.get(path)) for path in paths]
            await asyncio.wait(asked, timeout=0.5)
            await behind.aclose()
            archive, messages = [(await one).json()["items"] for one in asked]
    assert archive[-1]["id"] == ended
    assert [one["role"] for one in messages] == ["user", "assistant"]


async def test_what_a_stream_has_told_is_read_as_well_and_where_a_run_is_told_of_it_can_be_followed(
    start_gateway: Start, story: Story, tenant: str, database_url: str
) -> None:
    session, first, second = (str(uuid4()) for _ in range(3))
    async with start_gateway(read_patience_seconds=30) as gateway, gateway.client(tenant) as api:
        await story.tell(story.session(session), *opened(str(uuid4())))
        await gateway.parts.consistency.shows(await story.tell(story.run(session, first), *requested(str(uuid4()))))
        async with AsyncExitStack() as behind:
            await behind.enter_async_context(rows_held(database_url, SCHEMA, "gateway-state"))
            await story.tell(story.run(session, first), *completed())
            told = await story.tell(story.run(session, second), *requested(str(uuid4())), *completed())
            assert await gateway.parts.hub.reached(told, seconds=20)
            paths = (f"/api/runs/{first}", f"/api/runs/{second}/events")
            asked = [asyncio.create_task(api.get(path)) for path in paths]
            await asyncio.wait(asked, timeout=0.5)
            await behind.aclose()
            run, events = [await one for one in asked]
    assert run.json()["status"] == "completed"
    assert (events.status_code, "run.completed" in events.text) == (200, True)


async def test_rows_that_stay_behind_are_read_as_they_are(
    start_gateway: Start, story: Story, tenant: str, database_url: str
) -> None:
    session, run = str(uuid4()), str(uuid4())
    async with start_gateway(read_patience_seconds=0.1) as gateway, gateway.client(tenant) as api:
        await story.tell(story.session(session), *opened(str(uuid4())))
        await gateway.parts.consistency.shows(await story.tell(story.run(session, run), *requested(str(uuid4()))))
        async with rows_held(database_url, SCHEMA, "gateway-state"):
            ended = await story.tell(story.run(session, run), *completed())
            assert await gateway.parts.hub.reached(ended, seconds=20)
            assert (await api.get(f"/api/runs/{run}")).json()["status"] == "running"

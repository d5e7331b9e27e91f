"""The ends of runs are seen to, whatever one session's container makes of its own."""

import asyncio

from nats.aio.client import Client

from runyard_events import EventLog, Scope, StoredEvent, Writer, new_id
from runyard_events.catalogue import RunCompleted
from runyard_events.tasks import end_tasks
from runyard_workspace.handlers.effects import OF_EACH, Effects


async def test_one_session_s_ends_of_runs_keep_no_other_waiting(
    nats_client: Client, event_log: EventLog, tenant: str
) -> None:
    hostile, other = new_id(), new_id()
    seen, stuck, begun = asyncio.Event(), asyncio.Event(), list[str]()

    async def handle(stored: StoredEvent) -> None:
        if stored.address.session_id == hostile:
            begun.append(stored.subject)
            await stuck.wait()
        if stored.address.session_id == other:
            seen.set()

    async def end(session: str) -> None:
        await Writer(event_log, scope=Scope.run(tenant, session, new_id()), source="x").append(RunCompleted())

    for _ in range(3 * OF_EACH):
        await end(hostile)
    await end(other)
    working = asyncio.create_task(Effects(nats_client, handle).run())
    try:
        async with asyncio.timeout(20):
            await seen.wait()
        assert len(begun) == 1
    finally:
        stuck.set()
        await end_tasks(working)

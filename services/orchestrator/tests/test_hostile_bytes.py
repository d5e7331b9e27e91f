"""A container writes what it likes on its own subjects: whatever that is, other sessions go on."""

import asyncio

import pytest
from nats.aio.client import Client

from runyard_events import Scope, Writer, encode, new_id
from runyard_events.catalogue import RunCompleted
from runyard_events.leases import BUCKET, LEASE_SECONDS
from runyard_orchestrator.handlers import keeping

from .conftest import World, serving
from .test_reconciler import hasty, let_go, started

DEEP = b"[" * 200_000
"""More than a program can recurse into; a parser of JSON gives up with an error of its own kind."""
BYTES = [DEEP, b'{"id": "1", "type": ' + DEEP, b"\xff\xfe\x00", b"[1]", b'"x"', b"null", b'{"holder": ' + DEEP]


async def test_a_lease_that_cannot_be_read_keeps_no_other_run_from_its_end(
    surroundings: World, nats_client: Client
) -> None:
    world = surroundings
    async with serving(hasty(world.settings)):
        hostile = [await started(world, await world.session()) for _ in BYTES]
        session_id = await world.session()
        run_id, run = await started(world, session_id)
        for (one, _), content in zip(hostile, BYTES, strict=True):
            await nats_client.request(f"$KV.{BUCKET}.{one}", content)
        await let_go(run)

        async with asyncio.timeout(LEASE_SECONDS / 2):  # before those leases expire by themselves
            lost = await world.seen(session_id, "run.error", run_id=run_id)

        assert lost.event.payload.reason == "runner_lost"


async def test_events_that_are_none_stop_nobody_else_s_runs(
    surroundings: World, nats_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, failures = surroundings, list[str]()

    def note(event: str, **_: object) -> None:
        failures.append(event)

    monkeypatch.setattr(keeping.logger, "exception", note)
    async with serving(world.settings):
        session_id = await world.session()
        hostile = Scope.run(world.tenant, await world.session(), new_id())
        for _ in range(3):
            for content in BYTES:
                await nats_client.request(hostile.subject("lifecycle"), content)
        first, second = await world.prompt(session_id), await world.prompt(session_id)
        run = await asyncio.wait_for(world.runner.started(first), 10)
        await run.complete()
        await asyncio.wait_for(world.runner.started(second), 10)
    assert failures == []


async def test_an_event_that_says_to_be_another_session_s_is_none(world: World, nats_client: Client) -> None:
    """Who may write on a subject is checked by the server; what an envelope says is checked by the reader."""
    session_id, hostile_id = await world.session(), await world.session()
    run_id = await world.prompt(session_id)
    await asyncio.wait_for(world.runner.started(run_id), 20)
    pretended = Writer(world.log, scope=Scope.run(world.tenant, session_id, run_id), source="runner-codex.1")
    event = pretended.stamp(RunCompleted(duration_ms=1))
    subject = Scope.run(world.tenant, hostile_id, new_id()).subject("lifecycle")
    await nats_client.request(subject, encode(event))

    last = await world.log.last(subject)

    assert last is not None
    with pytest.raises(Exception, match="something else than its subject"):
        _ = last.event

"""Runs and sessions that stand still are found and brought to an end, live ones are left alone."""

import asyncio
from typing import Any

from nats.aio.client import Client

from runyard_chassis import Database
from runyard_events import Redactor, new_id
from runyard_events.catalogue import RunResumed
from runyard_events.commands import CancelRun, CreateSession, RequestRun
from runyard_orchestrator.adapters.container_errands import ContainerErrands
from runyard_orchestrator.adapters.errands import Errands
from runyard_orchestrator.adapters.leadership import Leadership
from runyard_orchestrator.adapters.ledger import Ledger
from runyard_orchestrator.adapters.projections import Projections
from runyard_orchestrator.domain.repair import Patience
from runyard_orchestrator.domain.rules import PROCESSES
from runyard_orchestrator.handlers.desk import Desk
from runyard_orchestrator.handlers.reconciler import Reconciler
from runyard_orchestrator.settings import Settings
from runyard_orchestrator.store.reading import Rows
from runyard_orchestrator.store.reading_sandboxes import SandboxRows
from runyard_orchestrator.store.tables import SCHEMA

from .conftest import World, serving
from .peers import FakeRun
from .yards import until


def hasty(settings: Settings, **more: Any) -> Settings:
    """Everything at once, unless a test wants something to be borne."""
    patience = {
        "reconcile_seconds": 0.1,
        "lease_grace_seconds": 0.5,
        "cancel_grace_seconds": 0.3,
        "time_limit_margin_seconds": 0.0,
        "resend_seconds": 0.5,
    }
    return settings.model_copy(update={**patience, **more})


async def started(world: World, session_id: str, **fields: Any) -> tuple[str, FakeRun]:
    run_id = await world.prompt(session_id, **fields)
    return run_id, await asyncio.wait_for(world.runner.started(run_id), 20)


async def let_go(run: FakeRun) -> None:
    assert run.lease is not None
    await run.leases.release(run.lease)


async def test_a_run_whose_runner_is_lost_ends_and_the_next_one_begins(surroundings: World) -> None:
    async with serving(hasty(surroundings.settings)):
        session_id = await surroundings.session()
        run_id, run = await started(surroundings, session_id)
        waiting = await surroundings.prompt(session_id)
        await let_go(run)

        lost = await surroundings.seen(session_id, "run.error", run_id=run_id)

        assert lost.event.payload.reason == "runner_lost"
        assert (await surroundings.types(session_id, run_id))[-2:] == ["ui.run.error", "run.error"]
        await asyncio.wait_for(surroundings.runner.started(waiting), 20)


async def test_a_run_with_a_lease_is_left_alone(surroundings: World) -> None:
    async with serving(hasty(surroundings.settings)):
        session_id = await surroundings.session()
        held, _ = await started(surroundings, session_id)
        other = await surroundings.session()
        lost, run = await started(surroundings, other)
        await let_go(run)
        await surroundings.seen(other, "run.error", run_id=lost)

        assert "run.error" not in await surroundings.types(session_id, held)


async def test_a_restart_counts_the_absence_anew(surroundings: World) -> None:
    patient = hasty(surroundings.settings, lease_grace_seconds=3600.0)
    async with serving(patient):
        session_id = await surroundings.session()
        run_id, run = await started(surroundings, session_id)
        await let_go(run)
    async with serving(patient):
        assert await run.leases.acquire(run_id, "runner-2") is not None
        await run.complete()
    assert (await surroundings.types(session_id, run_id))[-1] == "run.completed"


async def test_a_run_that_is_taken_up_again_while_it_is_given_up_lives_on(
    surroundings: World, nats_client: Client
) -> None:
    async with serving(hasty(surroundings.settings, reconcile_seconds=3600.0)):
        session_id = await surroundings.session()
        run_id, run = await started(surroundings, session_id)
        database = Database(surroundings.settings.database_url, SCHEMA)
        rows, log = Rows(database), surroundings.log
        projections = Projections(nats_client, log, database)
        following = asyncio.create_task(projections.run())
        await asyncio.wait_for(projections.caught_up(), 20)
        containers = ContainerErrands(nats_client, surroundings.bus, SandboxRows(database), PROCESSES)
        errands = Errands(surroundings.bus, rows, containers, has_containers=False)
        desk = Desk(log=log, ledger=Ledger(log, Redactor()), rows=rows, projections=projections, errands=errands)
        reconciler = Reconciler(
            client=nats_client,
            desk=desk,
            leases=run.leases,
            leadership=Leadership(database, "test"),
            patience=Patience(lease_grace=1),
            every_seconds=1,
        )
        (seen,) = await rows.runs_at_work(1)
        assert seen.run_id == run_id
        await run.lifecycle(RunResumed(runner_id="runner-2", attempt=2, reason="restart"))

        await reconciler.look_at(seen, 100.0)

        assert (await surroundings.types(session_id, run_id))[-1] == "run.resumed"
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await database.close()


async def test_a_run_asked_to_stop_whose_runner_is_gone_is_cancelled(surroundings: World) -> None:
    async with serving(hasty(surroundings.settings, lease_grace_seconds=3600.0)):
        session_id = await surroundings.session()
        run_id, run = await started(surroundings, session_id)
        await surroundings.ask(CancelRun(session_id=session_id, run_id=run_id))
        await let_go(run)

        await surroundings.seen(session_id, "run.cancelled", run_id=run_id)


async def test_a_run_far_over_its_time_ends_even_if_its_runner_lives(surroundings: World) -> None:
    async with serving(hasty(surroundings.settings)):
        session_id = await surroundings.session()
        run_id, _ = await started(surroundings, session_id, time_limit_seconds=1)

        late = await surroundings.seen(session_id, "run.error", run_id=run_id)

        assert late.event.payload.reason == "time_limit"


async def test_a_run_that_nobody_takes_is_offered_again(surroundings: World) -> None:
    surroundings.runner.starts = False
    async with serving(hasty(surroundings.settings)):
        session_id = await surroundings.session()
        run_id = await surroundings.prompt(session_id)
        await surroundings.runner.queue.got(lambda seen: len(seen) >= 1)
        surroundings.runner.starts = True

        await asyncio.wait_for(surroundings.runner.started(run_id), 20)


async def test_a_run_that_nobody_takes_ends_at_last(surroundings: World) -> None:
    surroundings.runner.starts = False
    async with serving(hasty(surroundings.settings, start_limit_seconds=0.5)):
        session_id = await surroundings.session()
        run_id = await surroundings.prompt(session_id, time_limit_seconds=1)

        ended = await surroundings.seen(session_id, "run.error", run_id=run_id)

        assert ended.event.payload.reason == "start_failed"


async def test_a_session_that_never_gets_its_worktree_fails_and_a_late_worktree_is_removed(
    surroundings: World,
) -> None:
    surroundings.workspace.is_open.clear()
    async with serving(hasty(surroundings.settings, session_limit_seconds=0.3)):
        asked = CreateSession(session_id=new_id(), workspace_id=surroundings.workspace_id, runner_type="codex")
        reply = await surroundings.ask(asked)
        assert reply.problem is not None
        assert reply.problem.type == "session-failed"

        surroundings.workspace.is_open.set()
        await surroundings.seen(asked.session_id, "worktree.removed")
        prompt = RequestRun(session_id=asked.session_id, run_id=new_id(), prompt="x")
        assert not (await surroundings.ask(prompt)).ok


async def test_only_one_replica_reconciles_and_another_takes_over(surroundings: World) -> None:
    settings = hasty(surroundings.settings)
    async with serving(settings):
        async with serving(settings):
            session_id = await surroundings.session()
            first, run = await started(surroundings, session_id)
            await let_go(run)
            await surroundings.seen(session_id, "run.error", run_id=first)
        second, run = await started(surroundings, session_id)
        await let_go(run)
        await surroundings.seen(session_id, "run.error", run_id=second)
    assert (await surroundings.types(session_id)).count("run.error") == 2


async def test_a_leader_that_hangs_is_followed_by_another(settings: Settings) -> None:
    first, second = Database(settings.database_url, SCHEMA), Database(settings.database_url, SCHEMA)
    hanging, waiting = (Leadership(one, "hanging", idle_seconds=0.5) for one in (first, second))
    assert await hanging.held()
    assert not await waiting.held()

    # Its connection stays open all the while: nobody closes it but the server.
    await until(waiting.held)

    assert not await hanging.held()
    await waiting.give_up()
    assert await hanging.held()
    await hanging.give_up()
    await first.close()
    await second.close()

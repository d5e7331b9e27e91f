"""A session's container comes, goes and comes back as its runs need it, on real NATS and PostgreSQL."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from runyard_chassis import Database
from runyard_chassis.tokens import SESSION_AUDIENCE, SESSION_KEY, Tokens, derive_key
from runyard_events import new_id
from runyard_events.catalogue import SandboxRules
from runyard_events.commands import DeleteSession, SetSandboxRules
from runyard_events.topology import sandbox_queues
from runyard_orchestrator.app import PACKAGE
from runyard_orchestrator.store.tables import SCHEMA
from runyard_sandbox import ProvisionFailed

from .conftest import KEY, serving
from .test_store import caught_up, contents
from .yards import Yard, until, watched, yard

__all__ = ["yard"]

CONTAINER_TABLES = ("sandboxes", "container_environments", "team_rules")


async def test_a_run_is_worked_on_in_a_container_of_its_session(yard: Yard) -> None:
    async with yard.serving():
        session_id = await yard.world.session()
        first = await yard.world.prompt(session_id)
        await yard.ended(session_id, first)
        second = await yard.world.prompt(session_id)
        await yard.ended(session_id, second)

    assert await yard.statuses(session_id) == ["requested", "creating", "running"]
    running = (await yard.world.seen(session_id, "sandbox.running")).event.payload
    assert (running.reason, running.warm) == ("prompt", False)
    (spec,) = yard.engine.specs
    assert (spec.name, spec.owner_id, spec.epoch) == (yard.name(session_id), session_id, 1)
    assert {mount.target for mount in spec.mounts} == {f"/workspaces/w/worktrees/{session_id}", "/agents"}
    assert spec.env.items() >= {
        ("SESSION_ID", session_id),
        ("WORKSPACE_PATH", f"/workspaces/w/worktrees/{session_id}"),
        ("NATS_URL", "nats://runyard:4222"),
        ("LLM_GATEWAY_URL", "http://runyard:8086"),
        ("MAIN_APP_URL", "http://runyard:8080"),
        ("MAIN_APP_WS_URL", "ws://runyard:8080"),
    }
    assert spec.health is not None
    assert spec.env["PULSE_FILE"] in spec.health.test[-1]
    claims = Tokens(derive_key(KEY, SESSION_KEY), SESSION_AUDIENCE).verify(spec.env["SESSION_TOKEN"])
    assert (claims.tenant, claims.session, claims.epoch, claims.run) == (yard.world.tenant, session_id, 1, None)
    assert spec.expires_at is not None
    assert timedelta(0) <= claims.expires - spec.expires_at < timedelta(seconds=5)
    assert timedelta(days=7) - (claims.expires - datetime.now(UTC)) < timedelta(minutes=5)
    dispatched = await yard.world.seen(session_id, "run.dispatched", run_id=first)
    assert dispatched.event.payload.method == "docker"
    assert [one.native_thread_id for one in yard.runner.starts] == [None, f"native-{session_id}"]
    assert not yard.world.runner.queue.seen


async def test_sessions_at_rest_are_not_looked_at_again_and_again(yard: Yard) -> None:
    async with yard.serving(sandbox_idle_seconds=1) as service:
        for _ in range(3):
            session_id = await yard.world.session()
            await yard.ended(session_id, await yard.world.prompt(session_id))
        await until(lambda: {one.sandbox.status for one in yard.engine.held.values()} == {"stopped"})
        seen = watched(service)
        await until(lambda: seen["once"] >= 30)
        assert seen["look_at"] <= 3 * 4


async def test_a_session_whose_name_is_taken_leaves_the_container_of_the_other_alone(yard: Yard) -> None:
    """Containers are called by the beginning of their session's id."""
    first, second = new_id(), new_id()
    second = first[:8] + second[8:]
    async with yard.serving(sandbox_restarts=0):
        _, run_id = await yard.begun(session_id=first)
        await yard.world.session(session_id=second)
        error = await yard.ended(second, await yard.world.prompt(second), "run.error")
        assert "somebody else" in error.message
        await yard.finish(first, run_id)
    assert await yard.statuses(first) == ["requested", "creating", "running"]


async def test_switching_off_holds_from_the_next_run_on(yard: Yard) -> None:
    yard.world.runner.completes = True
    async with yard.serving():
        session_id, first = await yard.begun()
        reply = await yard.world.ask(SetSandboxRules(rules=SandboxRules(enabled=False)))
        assert reply.result["effective"]["method"] == "process"
        await yard.finish(session_id, first)
        assert (await yard.world.seen(session_id, "sandbox.stopped")).event.payload.reason == "switched_off"
        second = await yard.world.prompt(session_id)
        await yard.ended(session_id, second)
        refused = await yard.control(session_id, "start")
        assert refused.problem is not None
        assert (refused.problem.status, refused.problem.type) == (409, "sandboxes-off")
    assert [one.payload.run_id for one in yard.world.runner.queue.seen] == [second]


async def test_another_runtime_holds_from_the_next_run_on(yard: Yard) -> None:
    async with yard.serving():
        session_id, first = await yard.begun()
        waiting = await yard.world.prompt(session_id)
        assert (await yard.world.ask(SetSandboxRules(rules=SandboxRules(runtime="runsc")))).ok
        yard.runner.holds = False
        await yard.finish(session_id, first)
        await yard.ended(session_id, waiting)
    assert [(one.epoch, one.runtime) for one in yard.engine.specs] == [(1, None), (2, "runsc")]
    assert list(yard.engine.held) == [yard.name(session_id, 2)]
    assert "run.resumed" not in await yard.world.types(session_id, waiting), "it began in the new one"


@pytest.mark.parametrize(
    ("rules", "reason"),
    [(SandboxRules(runtime="runsc"), "rules_changed"), (SandboxRules(enabled=False), "switched_off")],
)
async def test_what_a_team_decides_is_felt_at_once(yard: Yard, rules: SandboxRules, reason: str) -> None:
    async with yard.serving(reconcile_seconds=3600):
        session_id = await yard.world.session()
        await yard.ended(session_id, await yard.world.prompt(session_id))
        assert (await yard.world.ask(SetSandboxRules(rules=rules))).ok
        assert (await yard.world.seen(session_id, "sandbox.stopped")).event.payload.reason == reason


async def test_where_containers_are_required_a_team_that_wants_out_is_told_so_and_stays_in(yard: Yard) -> None:
    yard.world.runner.completes = True
    former = SandboxRules(enabled=False)
    async with yard.serving():
        assert (await yard.world.ask(SetSandboxRules(rules=former))).ok
    async with yard.serving(sandbox_required=True):
        refused = await yard.world.ask(SetSandboxRules(rules=SandboxRules(process_fallback=True)))
        assert refused.problem is not None
        assert (refused.problem.status, refused.problem.type) == (403, "sandboxes-required")
        session_id, run_id = await yard.begun()
        await yard.finish(session_id, run_id)
    assert yard.world.runner.queue.seen == []


async def test_an_idle_container_stops_and_the_next_prompt_starts_it_again(yard: Yard) -> None:
    async with yard.serving(sandbox_idle_seconds=1):
        session_id = await yard.world.session()
        await yard.ended(session_id, await yard.world.prompt(session_id))
        assert (await yard.world.seen(session_id, "sandbox.stopped")).event.payload.reason == "idle"
        second = await yard.world.prompt(session_id)
        await yard.ended(session_id, second)

    assert [one.epoch for one in yard.engine.specs] == [1]
    assert yard.runner.starts[-1].native_thread_id == f"native-{session_id}"


async def test_a_person_starts_pauses_resumes_stops_and_deletes_a_container(yard: Yard) -> None:
    async with yard.serving():
        session_id = await yard.world.session()
        none = await yard.control(session_id, "stop")
        assert none.problem is not None
        assert (none.problem.status, none.problem.type) == (409, "sandbox-absent")
        assert (await yard.control(session_id, "create")).result["status"] == "running"
        assert (await yard.control(session_id, "create")).result["epoch"] == 1
        name = yard.name(session_id)

        assert (await yard.control(session_id, "pause")).result["status"] == "paused"
        await until(lambda: yard.engine.held[name].sandbox.status == "paused")
        assert (await yard.control(session_id, "start")).result["status"] == "running"
        assert yard.engine.held[name].sandbox.status == "running"
        assert (await yard.control(session_id, "stop")).result["status"] == "stopped"
        await until(lambda: yard.engine.held[name].sandbox.status == "stopped")
        assert (await yard.control(session_id, "start")).result["epoch"] == 1
        home = yard.settings.agents_root / "sandbox" / session_id
        assert home.is_dir()
        assert (await yard.control(session_id, "delete")).result["status"] == "deleted"
        await until(lambda: not yard.engine.held and not home.exists())
        assert (await yard.control(session_id, "create")).result["epoch"] == 2


async def test_on_an_engine_that_cannot_pause_a_container_goes_on(yard: Yard) -> None:
    yard.engine.can_pause = False
    async with yard.serving():
        session_id = await yard.world.session()
        await yard.control(session_id, "create")
        assert (await yard.control(session_id, "pause")).ok
        running = await yard.world.seen(session_id, "sandbox.running", count=2)
    assert running.event.payload.reason == "cannot_pause"
    assert await yard.statuses(session_id) == ["requested", "creating", "running", "paused", "running"]


async def test_a_container_in_use_is_not_taken_away(yard: Yard) -> None:
    async with yard.serving():
        session_id, run_id = await yard.begun()
        for action in ("stop", "pause", "delete"):
            refused = await yard.control(session_id, action)
            assert refused.problem is not None
            assert (refused.problem.status, refused.problem.type) == (409, "sandbox-in-use")
        await yard.finish(session_id, run_id)


async def test_with_its_session_everything_of_a_container_goes(yard: Yard) -> None:
    async with yard.serving():
        session_id = await yard.world.session()
        await yard.ended(session_id, await yard.world.prompt(session_id))
        await yard.world.ask(DeleteSession(session_id=session_id))
        assert (await yard.world.seen(session_id, "sandbox.deleted")).event.payload.reason == "session_deleted"

    assert not yard.engine.held
    assert not (yard.settings.agents_root / "sandbox" / session_id).exists()
    assert session_id not in await sandbox_queues(yard.client)


async def test_the_queue_of_a_session_that_never_had_a_container_goes_too(yard: Yard) -> None:
    yard.engine.go_away()
    async with yard.serving():
        session_id = await yard.world.session()
        run_id = await yard.world.prompt(session_id)
        await until(lambda: queue_of(yard, session_id, is_there=True))
        await yard.world.ask(DeleteSession(session_id=session_id))
        await yard.ended(session_id, run_id, "run.cancelled")
        yard.engine.come_back()
        await until(lambda: queue_of(yard, session_id, is_there=False))


async def queue_of(yard: Yard, session_id: str, *, is_there: bool) -> bool:
    return (session_id in await sandbox_queues(yard.client)) is is_there


async def test_what_belongs_to_nobody_is_removed(yard: Yard) -> None:
    async with yard.serving():
        session_id = await yard.world.session()
        await yard.control(session_id, "create")
        spec = yard.engine.specs[0]
        await yard.engine.provision(replace(spec, owner_id="nobody", name="stray-1"))
        await yard.engine.provision(replace(spec, epoch=7, name="stray-7"))
        await until(lambda: set(yard.engine.held) == {spec.name})


async def test_a_new_process_finds_everything_as_it_was_and_makes_nothing_twice(yard: Yard) -> None:
    async with yard.serving():
        session_id, run_id = await yard.begun()
    yard.runner.holds = False
    async with yard.serving():
        await yard.finish(session_id, run_id)
        await yard.ended(session_id, await yard.world.prompt(session_id))
    assert [one.epoch for one in yard.engine.specs] == [1]
    assert "error" not in await yard.statuses(session_id)


async def test_two_replicas_make_one_container(yard: Yard) -> None:
    async with yard.serving(), yard.serving():
        sessions = await asyncio.gather(*(yard.world.session() for _ in range(3)))
        runs = {session_id: await yard.world.prompt(session_id) for session_id in sessions}
        for session_id, run_id in runs.items():
            await yard.ended(session_id, run_id)
    assert sorted(one.owner_id for one in yard.engine.specs) == sorted(sessions)


async def test_where_sandboxes_are_switched_off_altogether_what_was_is_brought_to_rest(yard: Yard) -> None:
    async with yard.serving():
        session_id, run_id = await yard.begun()
    async with serving(yard.settings.model_copy(update={"sandbox": "off"})):
        assert (await yard.ended(session_id, run_id, "run.error")).reason == "sandbox_failed"
        assert (await yard.world.seen(session_id, "sandbox.stopped")).event.payload.reason == "switched_off"


async def test_some_new_sessions_have_a_container_before_their_first_prompt(yard: Yard) -> None:
    async with yard.serving(sandbox_pool=2):
        sessions = [await yard.world.session() for _ in range(3)]
        for session_id in sessions[:2]:
            running = (await yard.world.seen(session_id, "sandbox.running")).event.payload
            assert running.warm
        assert {one.owner_id for one in yard.engine.specs} == set(sessions[:2])
        # The first one is used: there is room for the one that found none.
        await yard.ended(sessions[0], await yard.world.prompt(sessions[0]))
        warm = (await yard.world.seen(sessions[2], "sandbox.running")).event.payload
        assert (warm.warm, warm.reason) == (True, "pool")
        await yard.world.session()
        assert len(yard.engine.specs) == 3


async def test_dropped_and_replayed_the_tables_of_containers_come_out_the_same(yard: Yard) -> None:
    yard.engine.failures = [ProvisionFailed("no room")]
    async with yard.serving(sandbox_idle_seconds=1):
        rules = SandboxRules(process_fallback=True, egress=("packages.example",), idle_stop_seconds=10)
        assert (await yard.world.ask(SetSandboxRules(rules=rules))).ok
        session_id = await yard.world.session()
        await yard.ended(session_id, await yard.world.prompt(session_id))
        assert (await yard.control(session_id, "stop")).ok
        gone = await yard.world.session()
        await yard.control(gone, "create")
        await yard.world.ask(DeleteSession(session_id=gone))
        await yard.world.seen(gone, "sandbox.deleted")
    database = Database(yard.settings.database_url, SCHEMA)
    await caught_up(database, yard.client, yard.world.log)
    live = await contents(database, CONTAINER_TABLES)
    assert [len(live[name]) for name in CONTAINER_TABLES] == [2, 2, 1]
    statuses = {row[0]: row[4] for row in live["container_environments"]}
    assert statuses == {session_id: "stopped", gone: "deleted"}

    await database.downgrade(PACKAGE)
    await database.migrate(PACKAGE)
    await caught_up(database, yard.client, yard.world.log)

    assert await contents(database, CONTAINER_TABLES) == live
    await database.close()

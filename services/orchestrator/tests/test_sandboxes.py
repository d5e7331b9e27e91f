"""A session's container comes, goes and comes back as its runs need it, on real NATS and PostgreSQL."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from nats.aio.client import Client

from runyard_chassis import Database, Service
from runyard_chassis.tokens import SESSION_AUDIENCE, SESSION_KEY, Tokens, derive_key
from runyard_events import EventError, new_id
from runyard_events.catalogue import SandboxRules
from runyard_events.commands import DeleteSession, SetSandboxRules
from runyard_events.topology import sandbox_queues
from runyard_orchestrator.app import PACKAGE, build
from runyard_orchestrator.handlers import sandbox_steps
from runyard_orchestrator.store.tables import SCHEMA
from runyard_sandbox import ProvisionFailed, SandboxFault, Spec

from .conftest import KEY
from .test_store import caught_up, contents
from .yards import Yard, until, yard

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
    assert spec.env["NATS_URL"] == "nats://runyard:4222"
    assert spec.health is not None
    assert spec.env["PULSE_FILE"] in spec.health.test[-1]
    claims = Tokens(derive_key(KEY, SESSION_KEY), SESSION_AUDIENCE).verify(spec.env["SESSION_TOKEN"])
    assert (claims.tenant, claims.session, claims.epoch, claims.run) == (yard.world.tenant, session_id, 1, None)
    assert spec.expires_at is not None
    assert timedelta(0) <= claims.expires - spec.expires_at < timedelta(seconds=5)
    dispatched = await yard.world.seen(session_id, "run.dispatched", run_id=first)
    assert dispatched.event.payload.method == "docker"
    assert [one.native_thread_id for one in yard.runner.starts] == [None, f"native-{session_id}"]
    assert not yard.world.runner.queue.seen


async def test_a_container_that_dies_is_replaced_and_the_run_goes_on(yard: Yard) -> None:
    yard.runner.holds = True
    async with yard.serving():
        session_id = await yard.world.session()
        run_id = await yard.world.prompt(session_id)
        await yard.world.seen(session_id, "run.started", run_id=run_id)
        yard.engine.print(yard.name(session_id), "one", "two")
        yard.engine.out_of_memory(yard.name(session_id))
        await yard.world.seen(session_id, "run.resumed", run_id=run_id)
        yard.runner.let_go(run_id)
        await yard.ended(session_id, run_id)

        failed = (await yard.world.seen(session_id, "sandbox.error")).event.payload
    assert (failed.reason, failed.exit_code, failed.log_tail) == ("out_of_memory", 137, ("one", "two"))
    assert await yard.statuses(session_id) == [
        *("requested", "creating", "running", "error"),
        *("requested", "creating", "running"),
    ]
    assert yard.engine.most_at_once[session_id] == 1
    assert [held.spec.epoch for held in yard.engine.of(session_id)] == [2]


async def test_one_that_vanishes_unseen_is_found_by_the_next_look(yard: Yard) -> None:
    yard.runner.holds = True
    async with yard.serving():
        session_id = await yard.world.session()
        run_id = await yard.world.prompt(session_id)
        await yard.world.seen(session_id, "run.started", run_id=run_id)
        yard.engine.lose(yard.name(session_id))
        assert (await yard.world.seen(session_id, "sandbox.error")).event.payload.reason == "vanished"
        yard.runner.let_go(run_id)
        await yard.ended(session_id, run_id)


async def test_a_container_whose_runner_hangs_is_replaced(yard: Yard) -> None:
    async def main(spec: Spec) -> None:
        if spec.epoch > 1:
            await yard.runner.main(spec)

    yard.engine.main = main
    async with yard.serving(sandbox_lease_grace_seconds=1):
        session_id = await yard.world.session()
        run_id = await yard.world.prompt(session_id)
        await yard.ended(session_id, run_id)
    assert (await yard.world.seen(session_id, "sandbox.error")).event.payload.reason == "unhealthy"
    assert [held.spec.epoch for held in yard.engine.of(session_id)] == [2]


async def test_a_server_that_does_not_tell_of_queues_keeps_nothing_from_being_seen(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refused(_client: Client) -> set[str]:
        raise EventError("not allowed")

    monkeypatch.setattr(sandbox_steps, "sandbox_queues", refused)
    yard.runner.holds = True
    async with yard.serving():
        session_id = await yard.world.session()
        run_id = await yard.world.prompt(session_id)
        await yard.world.seen(session_id, "run.started", run_id=run_id)
        yard.engine.lose(yard.name(session_id))
        yard.runner.let_go(run_id)
        await yard.ended(session_id, run_id)


async def test_a_container_that_keeps_dying_is_given_up_with_its_run(yard: Yard) -> None:
    yard.engine.main = None
    yard.engine.failures = [ProvisionFailed("no room") for _ in range(9)]
    async with yard.serving(sandbox_restarts=2):
        session_id = await yard.world.session()
        run_id = await yard.world.prompt(session_id)
        error = await yard.ended(session_id, run_id, "run.error")

    assert error.reason == "sandbox_failed"
    assert "no room" in error.message
    statuses = await yard.statuses(session_id)
    assert statuses.count("requested") == 3
    assert statuses[-1] == "error"
    assert (await yard.world.types(session_id, run_id))[-2:] == ["ui.run.error", "run.error"]


async def test_a_container_at_rest_that_cannot_be_started_again_is_replaced(yard: Yard) -> None:
    async with yard.serving(sandbox_idle_seconds=1):
        session_id = await yard.world.session()
        await yard.ended(session_id, await yard.world.prompt(session_id))
        await until(lambda: yard.engine.held[yard.name(session_id)].sandbox.status == "stopped")
        yard.engine.refusals["start"] = SandboxFault("network 1f2e not found")
        await yard.ended(session_id, await yard.world.prompt(session_id))
    assert [one.epoch for one in yard.engine.specs] == [1, 2]
    failed = (await yard.world.seen(session_id, "sandbox.error")).event.payload
    assert (failed.reason, failed.message) == ("create_failed", "network 1f2e not found")


async def test_what_fails_again_and_again_is_tried_more_and_more_seldom(yard: Yard) -> None:
    async with yard.serving(reconcile_seconds=0.05) as service:
        session_id = await yard.world.session()
        await yard.ended(session_id, await yard.world.prompt(session_id))
        yard.engine.refusals["delete"] = SandboxFault("device or resource busy")
        seen = watched(service)
        await yard.world.ask(DeleteSession(session_id=session_id))
        await until(lambda: seen["once"] >= 60)
        # Each look at everything looks at it; what it is looked at besides does not become more and more.
        assert seen["look_at"] <= seen["once"] + 15
        yard.engine.refusals.clear()
        await yard.world.seen(session_id, "sandbox.deleted")


async def test_sessions_at_rest_are_not_looked_at_again_and_again(yard: Yard) -> None:
    async with yard.serving(sandbox_idle_seconds=1) as service:
        for _ in range(3):
            session_id = await yard.world.session()
            await yard.ended(session_id, await yard.world.prompt(session_id))
        await until(lambda: {one.sandbox.status for one in yard.engine.held.values()} == {"stopped"})
        seen = watched(service)
        await until(lambda: seen["once"] >= 30)
        assert seen["look_at"] <= 3 * 4


def watched(service: Service) -> Counter[str]:
    """How often the keeper looks at everything (`once`), and at one session (`look_at`), from now on."""
    keeper, seen = service.app.state.sandboxing.keeper, Counter[str]()

    def counted(name: str) -> Callable[..., Awaitable[None]]:
        original = getattr(keeper, name)

        async def count(*given: Any) -> None:
            seen[name] += 1
            await original(*given)

        return count

    for name in ("once", "look_at"):
        setattr(keeper, name, counted(name))
    return seen


async def test_a_session_whose_name_is_taken_leaves_the_container_of_the_other_alone(yard: Yard) -> None:
    """Containers are called by the beginning of their session's id."""
    yard.runner.holds = True
    first, second = new_id(), new_id()
    second = first[:8] + second[8:]
    async with yard.serving(sandbox_restarts=0):
        await yard.world.session(session_id=first)
        run_id = await yard.world.prompt(first)
        await yard.world.seen(first, "run.started", run_id=run_id)
        await yard.world.session(session_id=second)
        error = await yard.ended(second, await yard.world.prompt(second), "run.error")
        assert "somebody else" in error.message
        yard.runner.let_go(run_id)
        await yard.ended(first, run_id)
    assert await yard.statuses(first) == ["requested", "creating", "running"]


async def test_where_the_team_allows_it_a_plain_process_takes_over(yard: Yard) -> None:
    yard.world.runner.completes = True
    yard.engine.failures = [ProvisionFailed("there is no image", reason="image_missing")]
    async with yard.serving():
        rules = SetSandboxRules(rules=SandboxRules(process_fallback=True))
        assert (await yard.world.ask(rules)).ok
        session_id = await yard.world.session()
        run_id = await yard.world.prompt(session_id)
        await yard.ended(session_id, run_id)
        dispatched = [
            one.event.payload
            for one in await yard.world.events(session_id, run_id)
            if one.event.type == "run.dispatched"
        ]
    assert [one.method for one in dispatched] == ["docker", "process"]
    assert "there is no image" in dispatched[1].reason
    assert not yard.runner.starts


async def test_switching_off_holds_from_the_next_run_on(yard: Yard) -> None:
    yard.runner.holds = True
    yard.world.runner.completes = True
    async with yard.serving():
        session_id = await yard.world.session()
        first = await yard.world.prompt(session_id)
        await yard.world.seen(session_id, "run.started", run_id=first)
        reply = await yard.world.ask(SetSandboxRules(rules=SandboxRules(enabled=False)))
        assert reply.result["effective"]["method"] == "process"
        yard.runner.let_go(first)
        await yard.ended(session_id, first)
        assert (await yard.world.seen(session_id, "sandbox.stopped")).event.payload.reason == "switched_off"
        second = await yard.world.prompt(session_id)
        await yard.ended(session_id, second)
        refused = await yard.control(session_id, "start")
        assert refused.problem is not None
        assert (refused.problem.status, refused.problem.type) == (409, "sandboxes-off")
    assert [one.payload.run_id for one in yard.world.runner.queue.seen] == [second]


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
    yard.runner.holds = True
    async with yard.serving():
        session_id = await yard.world.session()
        run_id = await yard.world.prompt(session_id)
        await yard.world.seen(session_id, "run.started", run_id=run_id)
        for action in ("stop", "pause", "delete"):
            refused = await yard.control(session_id, action)
            assert refused.problem is not None
            assert (refused.problem.status, refused.problem.type) == (409, "sandbox-in-use")
        yard.runner.let_go(run_id)
        await yard.ended(session_id, run_id)


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
    yard.runner.holds = True
    async with yard.serving():
        session_id = await yard.world.session()
        run_id = await yard.world.prompt(session_id)
        await yard.world.seen(session_id, "run.started", run_id=run_id)
    yard.runner.holds = False
    async with yard.serving():
        yard.runner.let_go(run_id)
        await yard.ended(session_id, run_id)
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


async def test_nothing_is_concluded_while_the_engine_is_away(yard: Yard) -> None:
    yard.runner.holds = True
    async with yard.serving() as service:
        session_id = await yard.world.session()
        run_id = await yard.world.prompt(session_id)
        await yard.world.seen(session_id, "run.started", run_id=run_id)
        yard.engine.go_away()
        async with yard.world.http(service) as http:

            async def detail(beginning: str) -> bool:
                ready = await http.get("/ready")
                assert ready.status_code == 200
                return ready.json()["details"]["sandboxes"].startswith(beginning)

            await until(lambda: detail("away"))
            yard.runner.let_go(run_id)
            await yard.ended(session_id, run_id)
            yard.engine.come_back()
            await until(lambda: detail("ok"))
    assert "error" not in await yard.statuses(session_id)


async def test_a_run_waits_for_an_engine_and_not_for_ever(yard: Yard) -> None:
    yard.engine.go_away()
    async with yard.serving(sandbox_engine_seconds=1.5):
        session_id = await yard.world.session()
        run_id = await yard.world.prompt(session_id)
        error = await yard.ended(session_id, run_id, "run.error")
        assert error.reason == "sandbox_failed"
        assert "engine" in error.message
        yard.engine.come_back()
        await yard.ended(session_id, await yard.world.prompt(session_id))


async def test_where_sandboxes_are_switched_off_altogether_what_was_is_brought_to_rest(yard: Yard) -> None:
    yard.runner.holds = True
    async with yard.serving():
        session_id = await yard.world.session()
        run_id = await yard.world.prompt(session_id)
        await yard.world.seen(session_id, "run.started", run_id=run_id)
    service = build(yard.settings.model_copy(update={"sandbox": "off"}))
    async with service.app.router.lifespan_context(service.app):
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

"""Containers that die, vanish, hang or cannot be made, and an engine that is away: what becomes of their runs."""

import pytest
from nats.aio.client import Client

from runyard_events import EventError
from runyard_events.catalogue import SandboxRules
from runyard_events.commands import DeleteSession, SetSandboxRules
from runyard_orchestrator.handlers import sandbox_steps
from runyard_sandbox import ProvisionFailed, SandboxFault, Spec

from .yards import Yard, until, watched, yard

__all__ = ["yard"]


async def test_a_container_that_dies_is_replaced_and_the_run_goes_on(yard: Yard) -> None:
    async with yard.serving():
        session_id, run_id = await yard.begun()
        yard.engine.print(yard.name(session_id), "one", "two")
        yard.engine.out_of_memory(yard.name(session_id))
        await yard.world.seen(session_id, "run.resumed", run_id=run_id)
        await yard.finish(session_id, run_id)

        failed = (await yard.world.seen(session_id, "sandbox.error")).event.payload
    assert (failed.reason, failed.exit_code, failed.log_tail) == ("out_of_memory", 137, ("one", "two"))
    assert await yard.statuses(session_id) == [
        *("requested", "creating", "running", "error"),
        *("requested", "creating", "running"),
    ]
    assert yard.engine.most_at_once[session_id] == 1
    assert [held.spec.epoch for held in yard.engine.of(session_id)] == [2]


async def test_one_that_vanishes_unseen_is_found_by_the_next_look(yard: Yard) -> None:
    async with yard.serving():
        session_id, run_id = await yard.begun()
        yard.engine.lose(yard.name(session_id))
        assert (await yard.world.seen(session_id, "sandbox.error")).event.payload.reason == "vanished"
        await yard.finish(session_id, run_id)


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
    async with yard.serving():
        session_id, run_id = await yard.begun()
        yard.engine.lose(yard.name(session_id))
        await yard.finish(session_id, run_id)


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


async def test_nothing_is_concluded_while_the_engine_is_away(yard: Yard) -> None:
    async with yard.serving() as service:
        session_id, run_id = await yard.begun()
        yard.engine.go_away()
        async with yard.world.http(service) as http:

            async def detail(beginning: str) -> bool:
                ready = await http.get("/ready")
                assert ready.status_code == 200
                return ready.json()["details"]["sandboxes"].startswith(beginning)

            await until(lambda: detail("away"))
            await yard.finish(session_id, run_id)
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

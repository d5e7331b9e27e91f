"""What was decided is carried out, whoever dies in between."""

import asyncio
from typing import cast

import pytest
from nats.aio.client import Client

from runyard_chassis import Unavailable
from runyard_events import Scope, Writer, new_id
from runyard_events.catalogue import (
    RunDispatched,
    RunRequested,
    SessionCreated,
    SessionRunActivated,
    UiMessageUser,
)
from runyard_events.commands import CreateSession, DeleteSession, RequestRun, StartRun
from runyard_events.tasks import in_background
from runyard_orchestrator.handlers.desk import Desk
from runyard_orchestrator.handlers.process import Process
from runyard_orchestrator.store.reading import SessionKey

from .conftest import World, serving


async def test_a_run_that_ends_while_the_service_is_away_is_followed_by_the_next(surroundings: World) -> None:
    world = surroundings
    async with serving(world.settings):
        session_id = await world.session()
        first, second = await world.prompt(session_id), await world.prompt(session_id)
        run = await asyncio.wait_for(world.runner.started(first), 20)
    await run.complete()
    async with serving(world.settings):
        await asyncio.wait_for(world.runner.started(second), 20)


async def test_a_session_whose_worktree_is_made_while_the_service_is_away_becomes_ready(
    surroundings: World,
) -> None:
    world = surroundings
    settings = world.settings.model_copy(update={"session_wait_seconds": 0.2})
    world.workspace.is_open.clear()
    asked = CreateSession(session_id=new_id(), workspace_id=world.workspace_id, runner_type="codex")
    async with serving(settings):
        await world.ask(asked)
    world.workspace.is_open.set()
    await world.seen(asked.session_id, "worktree.opened")
    async with serving(settings):
        await world.seen(asked.session_id, "session.ready")


@pytest.mark.parametrize("done", [2, 3, 4])
async def test_a_prompt_whose_process_died_at_any_step_is_carried_on_by_the_next(
    surroundings: World, done: int
) -> None:
    world = surroundings
    async with serving(world.settings):
        session_id = await world.session()
    # A process that died between its appends and its command leaves exactly these events.
    run_id = new_id()
    session = Scope.session(world.tenant, session_id)
    run = Writer(world.log, scope=Scope.run(world.tenant, session_id, run_id), source="orchestrator")
    stands = await world.log.last(session.subject("lifecycle"))
    assert stands is not None
    about = Writer(world.log, scope=session, source="orchestrator", next_seq=stands.event.seq + 1)
    requested = RunRequested(prompt="Go.", workspace_id=world.workspace_id, runner_type="codex")
    steps = [
        run.place(run.stamp(requested), 0),
        run.place(run.stamp(UiMessageUser(text="Go."))),
        about.place(about.stamp(SessionRunActivated(active_run_id=run_id)), stands.stream_seq),
        run.place(run.stamp(RunDispatched(runner_type="codex"))),
    ]
    await world.log.append_many(steps[:done])

    async with serving(world.settings):
        started = await asyncio.wait_for(world.runner.started(run_id), 20)
        assert started.command.payload.prompt == "Go."
        await started.complete()
    own = [one.event.seq for one in await world.events(session_id, run_id) if one.event.source == "orchestrator"]
    assert own == [1, 2, 3]


async def test_a_prompt_cut_short_before_its_line_of_the_transcript_is_completed_when_it_comes_again(
    surroundings: World,
) -> None:
    world = surroundings
    async with serving(world.settings):
        session_id = await world.session()
    run_id, command_id = new_id(), new_id()
    run = Writer(world.log, scope=Scope.run(world.tenant, session_id, run_id), source="orchestrator")
    requested = RunRequested(prompt="Go.", workspace_id=world.workspace_id, runner_type="codex")
    await world.log.append(run.place(run.stamp(requested, causation_id=command_id), 0))

    async with serving(world.settings):
        again = RequestRun(session_id=session_id, run_id=run_id, prompt="Go.")
        assert (await world.ask(again, command_id=command_id)).ok
        await (await asyncio.wait_for(world.runner.started(run_id), 20)).complete()

    events = [one.event for one in await world.events(session_id, run_id)]
    assert [event.type for event in events].count("ui.message.user") == 1
    assert sorted(event.seq for event in events if event.source == "orchestrator") == [1, 2, 3]


async def test_a_session_deleted_while_its_worktree_is_being_made_leaves_none_behind(surroundings: World) -> None:
    world = surroundings
    world.workspace.is_open.clear()
    settings = world.settings.model_copy(update={"session_wait_seconds": 0.2})
    async with serving(settings):
        asked = CreateSession(session_id=new_id(), workspace_id=world.workspace_id, runner_type="codex")
        await world.ask(asked)
        await world.ask(DeleteSession(session_id=asked.session_id))
        world.workspace.is_open.set()
        await world.seen(asked.session_id, "worktree.removed")
        assert "session.ready" not in await world.types(asked.session_id)


async def test_two_replicas_share_the_work_without_doing_it_twice(surroundings: World) -> None:
    world = surroundings
    world.runner.completes = True
    async with serving(world.settings), serving(world.settings):
        sessions = await asyncio.gather(*(world.session() for _ in range(3)))
        runs = await asyncio.gather(*(world.prompt(session_id) for session_id in sessions * 5))
        for session_id in sessions:
            await world.seen(session_id, "run.completed", count=5)

    for session_id in sessions:
        events = [one.event for one in await world.events(session_id)]
        dispatched = [event.run_id for event in events if event.type == "run.dispatched"]
        assert len(dispatched) == len(set(dispatched)) == 5
        own = [event.seq for event in events if event.run_id is None and event.source == "orchestrator"]
        assert own == list(range(1, len(own) + 1))
        ids = [event.id for event in events]
        assert len(ids) == len(set(ids))
    starts = [one for one in world.runner.queue.seen if isinstance(one.payload, StartRun)]
    assert {one.payload.run_id for one in starts} == set(runs)
    assert len(starts) == len(runs)


class _Desk:
    """One session can never be seen to."""

    def __init__(self, stuck: str) -> None:
        self.projections = self
        self._stuck = stuck
        self.tried, self.seen_to = asyncio.Event(), asyncio.Event()

    async def reached(self, address: object, stream_seq: int) -> bool:  # noqa: ARG002 - the rows show everything
        return True

    async def has_seen_to(self, key: SessionKey, event_ids: object) -> bool:  # noqa: ARG002 - nothing was done
        return False

    async def follow_up(self, key: SessionKey, cause: object, events: object) -> None:  # noqa: ARG002
        if key.session_id == self._stuck:
            self.tried.set()
            raise Unavailable("Not yet.")
        self.seen_to.set()


async def test_a_session_that_has_to_wait_keeps_no_other_waiting(surroundings: World, nats_client: Client) -> None:
    world, stuck, other = surroundings, new_id(), new_id()
    created = SessionCreated(workspace_id=world.workspace_id, runner_type="codex", thread_id="t")
    desk = _Desk(stuck)
    async with in_background(Process(nats_client, cast("Desk", desk), concurrency=1).run()):
        for session, begun in ((stuck, desk.tried), (other, desk.seen_to)):
            await Writer(world.log, scope=Scope.session(world.tenant, session), source="orchestrator").append(created)
            await asyncio.wait_for(begun.wait(), 20)

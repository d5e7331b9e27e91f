"""Whatever the order of commands, events, redeliveries and delays: the rules of sessions and runs hold."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from runyard_events import StoredEvent
from runyard_events.catalogue import (
    TERMINAL_TYPES,
    RunApprovalRequested,
    RunApprovalResolved,
    RunCancelled,
    RunCompleted,
    RunDispatched,
    RunRequested,
    RunStarted,
    SessionRunQueued,
)
from runyard_events.commands import (
    AnswerApproval,
    CancelRun,
    CommandPayload,
    CreateSession,
    DeleteSession,
    RequestRun,
    SteerRun,
)
from runyard_orchestrator.domain import decisions
from runyard_orchestrator.domain.decisions import Limits, Sender
from runyard_orchestrator.domain.facts import Decision, Fact, Refusal
from runyard_orchestrator.domain.owed import owed_events
from runyard_orchestrator.domain.run import Run, evolve
from runyard_orchestrator.domain.state import State, Worktree
from runyard_orchestrator.store.following import fact_of

from .memory import KEY, Simulation

RUNS = ("run-1", "run-2", "run-3", "run-4")
OPENED = Worktree("opened", path="/tree", branch="b", base_commit="c", stream_seq=1)


def request(run_id: str) -> RequestRun:
    return RequestRun(session_id=KEY.session_id, run_id=run_id, prompt=run_id)


def cancel(run_id: str) -> CancelRun:
    return CancelRun(session_id=KEY.session_id, run_id=run_id)


def steer(run_id: str) -> SteerRun:
    return SteerRun(session_id=KEY.session_id, run_id=run_id, text="faster")


def answer(run_id: str) -> AnswerApproval:
    return AnswerApproval(session_id=KEY.session_id, run_id=run_id, approval_id="a", decision="accept")


EVERYTHING: list[CommandPayload] = [make(run_id) for make in (request, cancel, steer, answer) for run_id in RUNS]
commands = st.sampled_from(EVERYTHING)
acts = st.one_of(
    st.tuples(commands, st.integers(0, 2)),
    st.tuples(commands, st.integers(0, 2)),
    st.sampled_from(["runner", "runner", "ask", "complete"]),
    st.just("look"),
    st.sampled_from(["delete", *["look"] * 20]),
)
lags = st.one_of(st.none(), st.none(), st.tuples(st.integers(0, 5), st.integers(0, 5)))
"""How far the rows of sessions and runs follow after an act; None: all the way."""
scripts = st.lists(st.tuples(acts, lags), max_size=50)
Script = list[tuple[object, tuple[int, int] | None]]


def decide(state: State, payload: CommandPayload, sender: Sender) -> Decision:
    match payload:
        case CreateSession():
            return decisions.create_session(state, payload, sender)
        case DeleteSession():
            return decisions.delete_session(state, payload, sender)
        case RequestRun():
            return decisions.request_run(state, payload, sender, Limits())
        case CancelRun():
            return decisions.cancel_run(state, payload, sender)
        case SteerRun():
            return decisions.steer_run(state, payload, sender)
        case AnswerApproval():
            return decisions.answer_approval(state, payload, sender)
        case _:
            raise AssertionError


def command(world: Simulation, payload: CommandPayload, command_id: str) -> None:
    for _ in range(2):
        decision = decide(world.state(), payload, Sender("ada", command_id))
        if isinstance(decision, Refusal) or not decision:
            return
        if world.write(world.state(), decision, command_id):
            assert all(world.holds(planned) for planned in decision), "accepted but not written"
            return
        world.catch_up()
    raise AssertionError("nobody else writes in between")


def look(world: Simulation) -> bool:
    """The process manager or the reconciler looks at the session; whether it wrote something."""
    state = world.state()
    owed = owed_events(state)
    for planned in owed:
        if isinstance(planned.payload, SessionRunQueued) and world.is_behind(planned.payload.queued_run_id):
            return False
    return bool(owed) and world.write(state, owed, "look") is not None


def settle(world: Simulation) -> None:
    """Looks until nothing is owed."""
    while look(world):
        world.catch_up()


def runner(world: Simulation, what: str, run_id: str) -> None:
    run = newest(world).run(run_id)
    match what, run.status:
        case _, "dispatched":
            world.runner_says(run_id, RunStarted(runner_id="r", attempt=1))
        case "runner" | "stop", "cancelling":
            world.runner_says(run_id, RunCancelled())
        case "ask", "running" if not run.approvals:
            asked = RunApprovalRequested(
                approval_id="a", ask_kind="command", title="?", detail={}, options=("accept",), fingerprint="f"
            )
            world.runner_says(run_id, asked)
        case "complete", ("running" | "waiting_approval" | "cancelling"):
            world.runner_says(run_id, RunCompleted())
        case _:
            pass


def newest(world: Simulation) -> State:
    kept = world.session_place, world.run_place
    world.catch_up()
    state = world.state()
    world.session_place, world.run_place = kept
    return state


def play(script: Script) -> Simulation:
    world = Simulation(worktree=OPENED)
    created = CreateSession(session_id=KEY.session_id, workspace_id="w", runner_type="codex")
    command(world, created, "create")
    world.catch_up()
    look(world)
    world.catch_up()
    for act, lag in script:
        match act:
            case (CommandPayload() as payload, int(delivery)):
                command(world, payload, name_of(payload, delivery))
            case "runner" | "ask" | "complete":
                for run_id in newest(world).open_runs:
                    runner(world, str(act), run_id)
            case "delete":
                command(world, DeleteSession(session_id=KEY.session_id), "delete")
            case _:
                look(world)
        world.follow(lag)
        if lag is None and act != "look":
            settle(world)
    return world


def name_of(payload: CommandPayload, delivery: int) -> str:
    return f"{payload.TYPE}:{getattr(payload, 'run_id', '')}:{delivery}"


def finish(world: Simulation) -> None:
    """Everybody does what is left to do."""
    for _ in range(100):
        world.catch_up()
        did = look(world)
        world.catch_up()
        for run_id, run in world.state().open_runs.items():
            did = did or run.status != "queued"
            runner(world, "complete", run_id)
        if not did:
            return
    raise AssertionError("it never comes to rest")


def active_at_once(events: Sequence[StoredEvent]) -> int:
    active: set[str | None] = set()
    most = 0
    for stored in events:
        if stored.event.type == "run.dispatched":
            active.add(stored.event.run_id)
        elif stored.event.type in TERMINAL_TYPES:
            active.discard(stored.event.run_id)
        most = max(most, len(active))
    return most


@settings(max_examples=300, deadline=None)
@given(scripts)
def test_never_are_two_runs_of_a_session_active(script: Script) -> None:
    world = play(script)
    finish(world)
    assert active_at_once(world.log.stored) <= 1


@settings(max_examples=300, deadline=None)
@given(scripts)
def test_every_run_ends_exactly_once_and_nothing_follows(script: Script) -> None:
    world = play(script)
    finish(world)
    lifecycles = [one for one in world.log.stored if one.address.run_id and one.family == "lifecycle"]
    ends = Counter(one.event.run_id for one in lifecycles if one.event.type in TERMINAL_TYPES)
    assert ends == Counter({one.event.run_id for one in lifecycles})
    last = {one.event.run_id: one.event.type for one in lifecycles}
    assert set(last.values()) <= TERMINAL_TYPES


@settings(max_examples=300, deadline=None)
@given(scripts)
def test_runs_become_active_in_the_order_of_the_queue(script: Script) -> None:
    world = play(script)
    finish(world)
    placed = [
        getattr(one.event.payload, "queued_run_id", None) or one.event.payload.active_run_id
        for one in world.log.stored
        if one.event.type in {"session.run_queued", "session.run_activated"}
    ]
    queued = [one.event.payload.queued_run_id for one in world.log.stored if one.event.type == "session.run_queued"]
    activated = [
        one.event.payload.active_run_id for one in world.log.stored if one.event.type == "session.run_activated"
    ]
    assert len(set(queued)) == len(queued)
    assert activated == [run_id for run_id in dict.fromkeys(placed) if run_id in activated]


@settings(max_examples=300, deadline=None)
@given(scripts)
def test_the_numbers_of_our_events_have_no_gap_and_ids_are_never_reused(script: Script) -> None:
    world = play(script)
    finish(world)
    numbers: dict[tuple[str, str], list[int]] = {}
    for stored in world.log.stored:
        event = stored.event
        numbers.setdefault((stored.address.aggregate_id, event.source), []).append(event.seq)
    assert all(found == list(range(1, len(found) + 1)) for found in numbers.values())
    ids = [stored.event.id for stored in world.log.stored]
    assert len(set(ids)) == len(ids)


@settings(max_examples=200, deadline=None)
@given(scripts)
def test_a_command_delivered_again_after_everything_changes_nothing(script: Script) -> None:
    world = play(script)
    world.catch_up()
    before = len(world.log.stored)
    for act, _ in script:
        match act:
            case (CommandPayload() as payload, int(delivery)):
                command_id = name_of(payload, delivery)
                if any(one.event.causation_id == command_id for one in world.log.stored):
                    command(world, payload, command_id)
            case _:
                pass
    assert len(world.log.stored) == before


@settings(max_examples=200, deadline=None)
@given(scripts)
def test_events_delivered_again_leave_the_rows_as_they_are(script: Script) -> None:
    world = play(script)
    world.catch_up()
    once = world.state()
    assert once.session.active_run_id not in once.session.queue
    lifecycles = [one for one in world.log.stored if one.family == "lifecycle"]
    again = once.after((one.address.run_id, fact) for one in lifecycles if (fact := fact_of(one)) is not None)
    assert again == once


def test_time_spent_waiting_for_people_is_not_counted() -> None:
    def at(second: int) -> datetime:
        return datetime.fromtimestamp(second, UTC)

    asked = RunApprovalRequested(
        approval_id="a", ask_kind="command", title="?", detail={}, options=("accept",), fingerprint="f"
    )
    history = [
        (RunRequested(prompt="x", workspace_id="w", runner_type="codex"), 0),
        (RunDispatched(runner_type="codex"), 1),
        (RunStarted(runner_id="r", attempt=1), 2),
        (asked, 10),
        (RunApprovalResolved(approval_id="a", decision="accept"), 110),
    ]
    run = Run()
    for number, (payload, second) in enumerate(history, start=1):
        run = evolve(run, Fact(payload, number, at(second)))

    assert (run.status, run.paused_seconds) == ("running", 100.0)


def test_of_two_decisions_on_the_same_old_rows_the_second_is_decided_again() -> None:
    world = play([])
    stale = world.state()
    for run_id in ("run-1", "run-2"):
        accepted = decisions.request_run(stale, request(run_id), Sender("ada", run_id), Limits())
        assert not isinstance(accepted, Refusal)
        state = stale.after([(run_id, Fact(accepted[0].payload, 99, datetime.now(UTC)))])
        written = world.write(state, owed_events(state), run_id)
        assert (written is None) == (run_id == "run-2")


def test_a_new_prompt_does_not_overtake_those_that_wait() -> None:
    world = play([((request("run-1"), 0), None), ("runner", None), ((request("run-2"), 0), None)])
    runner(world, "complete", "run-1")
    command(world, request("run-3"), "late")
    world.catch_up()
    state = world.state()
    assert state.idle
    assert state.waiting == ("run-2", "run-3")
    assert [planned.payload.active_run_id for planned in owed_events(state)] == ["run-2"]  # type: ignore[attr-defined]
    settle(world)
    world.catch_up()
    after = world.state()
    assert (after.session.active_run_id, after.session.queue) == ("run-2", ("run-3",))


def test_words_delivered_twice_are_said_once() -> None:
    world = play([((request("run-1"), 0), None), ("runner", None), ((steer("run-1"), 0), None)])
    before = len(world.log.stored)
    command(world, steer("run-1"), name_of(steer("run-1"), 0))
    assert len(world.log.stored) == before
    command(world, steer("run-1"), name_of(steer("run-1"), 1))
    assert len(world.log.stored) == before + 2

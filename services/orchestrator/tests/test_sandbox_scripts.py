"""Whatever fails, dies or answers late: a session has one container at most, and every run gets one or an end."""

from datetime import timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from runyard_events.catalogue import SandboxError
from runyard_orchestrator.domain.facts import Fact
from runyard_orchestrator.domain.sandbox import SANDBOX_OWNER, evolve

from .plays import ACTIONS, Play

HAPPENINGS = [
    *("prompt", "prompt", "prompt", "begin", "begin", "end", "end"),
    *("kill", "oom", "lose", "sicken", "fail", "fail", "away", "back", "back", "hour", "set back", "switch", "rule"),
    *ACTIONS,
]
happenings = st.one_of(
    st.sampled_from(HAPPENINGS),
    st.integers(0, 6),  # so many steps of a keeper that then dies
    st.just("look"),
)
scripts = st.lists(happenings, max_size=40)
Script = list[Any]


def play(script: Script, *, fallback: bool) -> Play:
    yard = Play(fallback=fallback)
    for one in script:
        if one == "look":
            yard.look()
        elif isinstance(one, int):
            yard.look(one)
        else:
            yard.act(one)
    return yard


def settle(yard: Play) -> None:
    yard.act("back")
    yard.fails = 0
    yard.look()


@settings(max_examples=400, deadline=None)
@given(scripts, st.booleans())
def test_a_session_never_has_two_running_containers(script: Script, fallback: bool) -> None:  # noqa: FBT001
    yard = play(script, fallback=fallback)
    settle(yard)
    assert yard.most <= 1
    assert len(yard.containers) <= 1


@settings(max_examples=400, deadline=None)
@given(scripts, st.booleans())
def test_every_run_comes_to_a_container_to_a_process_or_to_an_end(script: Script, fallback: bool) -> None:  # noqa: FBT001
    yard = play(script, fallback=fallback)
    yard.act("prompt")
    settle(yard)
    if yard.run is not None and yard.run.method == "docker":
        (container,) = yard.containers.values()
        assert (container.status, yard.box.status, container.epoch) == ("running", "running", yard.box.epoch)
        assert yard.run.status != "dispatched" or yard.runtimes[container.name] == yard.runtime
    else:
        assert yard.run is not None or yard.ends


@settings(max_examples=300, deadline=None)
@given(scripts)
def test_epochs_only_rise_and_each_names_one_container(script: Script) -> None:
    yard = play(script, fallback=False)
    epochs = [payload.epoch for payload in yard.history]
    assert epochs == sorted(epochs)


@settings(max_examples=300, deadline=None)
@given(scripts)
def test_nothing_is_left_of_a_session_that_is_deleted(script: Script) -> None:
    yard = play(script, fallback=False)
    had_any = bool(yard.history)
    yard.act("delete session")
    settle(yard)
    assert not yard.containers
    assert not yard.has_home
    assert yard.box.status == ("deleted" if had_any else "absent")


@settings(max_examples=300, deadline=None)
@given(scripts)
def test_an_idle_session_comes_to_rest_and_stays_there(script: Script) -> None:
    yard = play(script, fallback=False)
    if yard.run is not None:
        yard.end("completed")
    settle(yard)
    yard.now += timedelta(hours=1)
    settle(yard)
    yard.now += timedelta(hours=1)
    settle(yard)
    assert not [one for one in yard.containers.values() if one.status == "running"]
    assert yard.step() is None


@settings(max_examples=200, deadline=None)
@given(scripts)
def test_events_delivered_again_leave_a_sandbox_as_it_is(script: Script) -> None:
    yard = play(script, fallback=False)
    again = yard.box
    for seq, payload in enumerate(yard.history, start=1):
        again = evolve(again, Fact(payload, seq, yard.now, SANDBOX_OWNER, seq))
    assert again == yard.box


@settings(max_examples=200, deadline=None)
@given(scripts)
def test_while_the_engine_is_away_nothing_is_said_about_containers(script: Script) -> None:
    yard = play(script, fallback=False)
    settle(yard)
    if yard.run is not None and yard.run.status == "dispatched":
        yard.act("begin")
    yard.act("away")
    before = len(yard.history)
    yard.look()
    assert not [one for one in yard.history[before:] if isinstance(one, SandboxError)]

"""What becomes of a container in this and that situation: what its keeper does, and what it says of it."""

from dataclasses import replace
from datetime import timedelta

import pytest

from runyard_events.catalogue import (
    SandboxCreating,
    SandboxError,
    SandboxRequested,
    SandboxRules,
    SandboxRunning,
    SandboxStopped,
)
from runyard_orchestrator.domain.controls import control
from runyard_orchestrator.domain.facts import Refusal
from runyard_orchestrator.domain.rules import rules_of
from runyard_orchestrator.domain.run import Run
from runyard_orchestrator.domain.sandbox import Sandbox
from runyard_orchestrator.domain.session import Session
from runyard_orchestrator.domain.situation import Wait, container_name, gives_way
from runyard_orchestrator.domain.state import State
from runyard_orchestrator.domain.upkeep import next_step
from runyard_orchestrator.handlers.sandboxes import situation_of
from runyard_orchestrator.store.reading import SessionKey

from .plays import DOCKER, PATIENCE, SESSION, Play


def test_one_at_rest_whose_image_was_replaced_is_not_started_again() -> None:
    yard = Play()
    yard.act("prompt")
    yard.look()
    yard.act("begin")
    yard.act("end")
    yard.act("hour")
    yard.look()
    assert yard.box.status == "stopped"
    yard.change(container_name(SESSION, 1), outdated=True)
    yard.act("prompt")
    yard.look()
    assert list(yard.containers) == [container_name(SESSION, 2)]


@pytest.mark.parametrize("meanwhile", [[], ["pause"], ["hour"]], ids=["at work", "paused", "at rest"])
@pytest.mark.parametrize("looked_at", [True, False])
def test_a_run_is_worked_on_by_the_runtime_that_the_team_has_chosen_before_it(
    meanwhile: list[str], *, looked_at: bool
) -> None:
    yard = Play()
    for what in ("prompt", "begin", "end", *meanwhile):
        yard.act(what)
        yard.look()
    yard.act("rule")
    if looked_at:
        yard.look()
    yard.act("prompt")
    yard.look()
    assert (list(yard.containers), yard.box.status) == ([container_name(SESSION, 2)], "running")
    assert yard.runtimes == {container_name(SESSION, 1): None, container_name(SESSION, 2): "runsc"}
    reasons = [one.reason for one in yard.history if isinstance(one, SandboxStopped)]
    assert reasons == (["idle"] if "hour" in meanwhile else ["rules_changed"])


@pytest.mark.parametrize(
    ("box", "holds"),
    [
        (Sandbox(), False),
        (Sandbox(status="requested", epoch=1), False),
        (Sandbox(status="running", epoch=1), True),
        (Sandbox(status="paused", epoch=1), True),
        (Sandbox(status="stopped", epoch=1, reason="rules_changed"), True),
        (Sandbox(status="requested", epoch=2), True),
        (Sandbox(status="creating", epoch=2, runtime="runsc"), False),
        (Sandbox(status="running", epoch=2, runtime="runsc"), False),
        (Sandbox(status="stopped", epoch=1, reason="idle"), False),
        (Sandbox(status="error", epoch=1), False),
        (Sandbox(status="deleted", epoch=1), False),
    ],
)
def test_a_start_is_held_back_while_a_container_that_is_ruled_out_may_take_it(box: Sandbox, *, holds: bool) -> None:
    assert gives_way(box, rules_of(DOCKER, SandboxRules(runtime="runsc"))) is holds


def test_a_run_that_has_begun_keeps_its_container_whatever_runtime_the_team_chooses() -> None:
    yard = Play()
    for what in ("prompt", "begin", "rule"):
        yard.act(what)
        yard.look()
    assert (list(yard.containers), yard.box.status) == ([container_name(SESSION, 1)], "running")
    yard.act("end")
    yard.look()
    assert (yard.box.status, yard.box.reason) == ("stopped", "rules_changed")


def test_every_start_of_a_container_says_what_it_is_for() -> None:
    yard = Play()

    def said() -> list[tuple[str, str | None]]:
        told = [one for one in yard.history if isinstance(one, SandboxRequested | SandboxCreating | SandboxRunning)]
        yard.history.clear()
        return [(one.TYPE.removeprefix("sandbox."), one.reason) for one in told]

    def made(reason: str) -> list[tuple[str, str]]:
        return [(what, reason) for what in ("requested", "creating", "running")]

    yard.act("prompt")
    yard.look()
    assert said() == made("prompt")
    yard.act("begin")
    yard.act("kill")
    yard.look()
    assert said() == made("replaced")
    yard.act("end")
    yard.act("hour")
    yard.look()
    yard.act("prompt")
    yard.look()
    assert said() == [("requested", "prompt"), ("running", "prompt")]
    assert (yard.box.status, yard.box.reason) == ("running", "prompt")
    yard.act("begin")
    yard.record(SandboxStopped(epoch=yard.box.epoch, reason="shutdown"))
    yard.containers.clear()
    yard.look()
    assert said() == made("restarted")
    yard.act("end")
    yard.act("stop")
    yard.look()
    yard.change(container_name(SESSION, yard.box.epoch), outdated=True)
    yard.act("create")
    yard.look()
    assert said() == [("requested", "user"), *made("renewed")]
    yard.act("delete")
    yard.look()
    yard.act("create")
    yard.look()
    assert said() == made("user")


@pytest.mark.parametrize("keeps_expiry", [True, False])
def test_a_run_in_a_container_that_expires_gets_another_one(keeps_expiry: bool) -> None:  # noqa: FBT001
    yard = Play(keeps_expiry=keeps_expiry)
    yard.act("prompt")
    yard.look()
    yard.act("begin")
    yard.now += timedelta(seconds=PATIENCE.token_lifetime - 10)
    yard.look()
    assert list(yard.containers) == [container_name(SESSION, 1)]
    yard.now += timedelta(seconds=10)
    yard.look()
    assert [one.reason for one in yard.history if isinstance(one, SandboxError)] == ["expired"]
    assert list(yard.containers) == [container_name(SESSION, 2)]
    assert (yard.box.status, yard.most, yard.ends) == ("running", 1, [])


@pytest.mark.parametrize("keeps_expiry", [True, False])
@pytest.mark.parametrize("rests", [True, False])
def test_a_container_that_nobody_works_in_is_removed_when_it_expires(*, rests: bool, keeps_expiry: bool) -> None:
    yard = Play(keeps_expiry=keeps_expiry)
    patience = replace(PATIENCE, archive_after=10 * PATIENCE.token_lifetime)
    yard.act("create")
    yard.look()
    if rests:
        yard.act("hour")
        yard.look()
    assert [one.status for one in yard.containers.values()] == ["stopped" if rests else "running"]
    yard.now += timedelta(seconds=PATIENCE.token_lifetime)
    while (step := next_step(yard.at(), list(yard.containers.values()), now=yard.now, patience=patience)) is not None:
        yard.do(step)
    assert not yard.containers
    assert (yard.box.status, yard.box.reason) == ("stopped", "expired")
    yard.act("prompt")
    yard.look()
    assert list(yard.containers) == [container_name(SESSION, 2)]


def test_a_container_that_keeps_failing_gets_less_and_less_often_another() -> None:
    yard = Play(fails=9)
    yard.act("prompt")
    waits: list[float] = []
    while yard.run is not None:
        step = yard.step()
        assert step is not None
        if isinstance(step, Wait):
            waits.append(round(step.seconds))
        yard.do(step)
    assert waits == [1, 2]
    assert [one.reason for one in yard.history if isinstance(one, SandboxError)] == [
        *["create_failed"] * 3,
        "gave_up",
    ]
    assert "no room" in yard.ends[0]


@pytest.mark.parametrize("when", range(4))
def test_a_clock_that_is_set_back_is_no_reason_to_try_for_ever(when: int) -> None:
    yard = Play(fails=99)
    yard.act("prompt")
    waits: list[Wait] = []
    for number in range(60):
        if number == 3 * when:
            yard.act("set back")
        step = yard.step()
        if step is None or yard.run is None:
            break
        if isinstance(step, Wait):
            waits.append(step)
        yard.do(step)
    assert yard.ends
    assert len(waits) >= 1
    assert [one.reason for one in yard.history if isinstance(one, SandboxError)] == [
        *["create_failed"] * 3,
        "gave_up",
    ]


def test_what_failed_before_a_run_is_not_held_against_it_when_the_clock_is_set_back() -> None:
    yard = Play(fails=3)
    yard.act("prompt")
    yard.look()
    assert len(yard.ends) == 1
    yard.act("set back")
    yard.act("prompt")
    yard.look()
    assert len(yard.ends) == 1
    assert yard.box.status == "running"


def test_a_run_that_has_begun_in_a_container_never_goes_to_a_process() -> None:
    yard = Play(fallback=True)
    yard.act("prompt")
    yard.look()
    yard.act("begin")
    yard.fails = 9
    yard.act("kill")
    yard.look()
    assert yard.ends
    assert yard.run is None


def test_a_container_at_rest_for_long_is_removed_and_its_successor_finds_the_agents_folder() -> None:
    yard = Play()
    yard.act("create")
    yard.look()
    yard.act("hour")
    yard.look()
    assert [one.status for one in yard.containers.values()] == ["stopped"]
    yard.act("hour")
    yard.look()
    assert not yard.containers
    assert [one.reason for one in yard.history if isinstance(one, SandboxStopped)] == ["idle", "archived"]
    yard.act("prompt")
    yard.look()
    assert (yard.box.status, yard.box.epoch, yard.has_home) == ("running", 2, True)


def test_one_at_rest_whose_token_is_old_gets_a_successor() -> None:
    yard = Play()
    yard.act("create")
    yard.look()
    yard.act("stop")
    yard.look()
    yard.now += timedelta(seconds=900)
    yard.act("start")
    yard.look()
    assert yard.box.epoch == 1
    yard.act("stop")
    yard.look()
    yard.box = replace(yard.box, epoch_at=yard.now - timedelta(seconds=6000))
    yard.act("start")
    yard.look()
    assert (yard.box.epoch, yard.box.status) == (2, "running")


@pytest.mark.parametrize(
    "session",
    [
        Session(status="ready", runner_type="codex", active_run_id="unknown"),
        Session(status="ready", runner_type="codex", active_run_id="ended", queue=("next",)),
    ],
)
def test_a_run_that_the_rows_do_not_show_yet_keeps_its_container(session: Session) -> None:
    yard = Play()
    yard.act("create")
    yard.look()
    yard.act("hour")
    ended = Run(status="completed", method="docker", completed_at=yard.now - timedelta(hours=1))
    state = State(session=session, runs={"ended": ended, "next": Run(status="queued")})
    at = situation_of(SessionKey("t", SESSION), state, yard.box, DOCKER)
    assert next_step(at, list(yard.containers.values()), now=yard.now, patience=PATIENCE) is None
    refused = control(at, "stop", "ada")
    assert isinstance(refused, Refusal)
    assert refused.type == "sandbox-in-use"

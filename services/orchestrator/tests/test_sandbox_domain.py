"""Whatever fails, dies or answers late: a session has one container at most, and every run gets one or an end."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runyard_events.catalogue import (
    SandboxCreating,
    SandboxError,
    SandboxRequested,
    SandboxRules,
    SandboxRunning,
    SandboxStopped,
)
from runyard_events.commands import SandboxAction
from runyard_orchestrator.domain.controls import change_rules, control
from runyard_orchestrator.domain.facts import Fact, Refusal
from runyard_orchestrator.domain.measures import is_worth_telling
from runyard_orchestrator.domain.rules import PROCESSES, Installation, rules_of, where
from runyard_orchestrator.domain.run import Run
from runyard_orchestrator.domain.sandbox import SANDBOX_OWNER, Sandbox, evolve
from runyard_orchestrator.domain.session import Session
from runyard_orchestrator.domain.situation import (
    Delete,
    FailRun,
    Forget,
    Patience,
    Pause,
    Provision,
    Record,
    Resume,
    Situation,
    Start,
    Step,
    Stop,
    TakeBack,
    Wait,
    container_name,
)
from runyard_orchestrator.domain.state import State
from runyard_orchestrator.domain.upkeep import next_step
from runyard_orchestrator.handlers.sandboxes import situation_of
from runyard_orchestrator.store.reading import SessionKey
from runyard_sandbox import Sandbox as Container
from runyard_sandbox import Stats

SESSION = "0123456789abcdef"
DOCKER = Installation(method="docker", images={"*": "runner-{runner}"}, idle_stop_seconds=100)
PATIENCE = Patience(restarts=2, backoff=1, engine_away=60, archive_after=1000, token_lifetime=10_000)
ACTIONS: list[SandboxAction] = ["create", "start", "stop", "pause", "delete"]


@dataclass
class Play:
    """A session with an engine; `keeper` steps are done one at a time, and each may be the last of its process."""

    fallback: bool = False
    now: datetime = field(default_factory=lambda: datetime(2026, 1, 1, tzinfo=UTC))
    box: Sandbox = field(default_factory=Sandbox)
    containers: dict[str, Container] = field(default_factory=dict[str, Container])
    history: list[Any] = field(default_factory=list[Any])
    place: int = 0
    """Of the last event in the log."""
    run: Run | None = None
    session: str = "ready"
    enabled: bool = True
    is_away: bool = False
    away_since: datetime | None = None
    fails: int = 0
    has_home: bool = False
    keeps_expiry: bool = True
    """Whether the engine does."""
    ends: list[str] = field(default_factory=list[str])
    most: int = 0
    idle_since: datetime | None = None

    def at(self) -> Situation:
        rules = rules_of(DOCKER, SandboxRules(enabled=self.enabled, process_fallback=self.fallback))
        return Situation(
            session=self.session,  # type: ignore[arg-type]
            session_id=SESSION,
            runner_type="codex",
            sandbox=self.box,
            rules=rules,
            installation=DOCKER,
            run_id="run" if self.run else None,
            run=self.run,
            idle_since=self.idle_since,
            has_open_runs=self.run is not None,
            has_remains=self.has_home,
        )

    def step(self) -> Step | None:
        away = (self.now - self.away_since).total_seconds() if self.away_since else 0.0
        known = None if self.is_away else list(self.containers.values())
        return next_step(self.at(), known, now=self.now, patience=PATIENCE, away_seconds=away)

    def record(self, payload: Any) -> None:
        self.history.append(payload)
        self.place += 1
        self.box = evolve(self.box, Fact(payload, self.place, self.now, SANDBOX_OWNER, len(self.history)))

    def do(self, step: Step) -> None:  # noqa: C901 - one case for each kind of step
        self.now += timedelta(milliseconds=1)
        match step:
            case Record(payload=payload):
                self.record(payload)
            case Provision(epoch=epoch, name=name):
                self.provision(epoch, name)
            case Start(name=name) | Resume(name=name):
                assert not self.is_away
                self.change(name, status="running", exit_code=None, out_of_memory=False)
                if self.box.status != "running":
                    self.running(name)
            case Pause(name=name):
                self.change(name, status="paused")
            case Stop(name=name):
                self.change(name, status="stopped", exit_code=143)
            case Delete(name=name):
                assert not self.is_away
                del self.containers[name]
            case Forget():
                self.has_home = False
            case TakeBack():
                assert self.fallback
                assert self.run is not None
                assert self.run.status == "dispatched"
                self.containers.pop(container_name(SESSION, self.box.epoch), None)
                self.run = replace(self.run, method="process", dispatched_at=self.now)
            case FailRun(message=message):
                self.end(message)
            case Wait(seconds=seconds):
                assert seconds > 0
                self.now += timedelta(seconds=seconds)

    def provision(self, epoch: int, name: str) -> None:
        assert name == container_name(SESSION, epoch)
        if self.is_away:
            return
        if self.fails and name not in self.containers:
            self.fails -= 1
            self.record(SandboxError(epoch=epoch, reason="create_failed", message="no room"))
            return
        self.has_home = True
        if name not in self.containers:
            self.containers[name] = Container(
                name=name,
                native_id="n",
                status="running",
                purpose="agent",
                tenant_id="t",
                owner_id=SESSION,
                epoch=epoch,
                expires_at=self.now + timedelta(seconds=PATIENCE.token_lifetime) if self.keeps_expiry else None,
            )
        if self.containers[name].status == "running":
            self.running(name)
        else:
            self.record(SandboxError(epoch=epoch, reason="exited", message="ended at once"))

    def running(self, name: str) -> None:
        self.record(
            SandboxRunning(epoch=self.box.epoch, method="docker", name=name, native_id="n", reason=self.box.started_for)
        )

    def change(self, name: str, **values: Any) -> None:
        self.containers[name] = replace(self.containers[name], **values)

    def look(self, most: int = 200) -> None:
        """Steps until there are none; the clock goes on a little with each."""
        for _ in range(most):
            step = self.step()
            running = sum(1 for one in self.containers.values() if one.status == "running")
            self.most = max(self.most, running)
            if step is None:
                return
            if isinstance(step, Provision) and self.is_away:
                return
            self.do(step)
        if most > 50:
            raise AssertionError(f"it never comes to rest: {self.step()}")

    def end(self, how: str) -> None:
        self.ends.append(how)
        self.run, self.idle_since = None, self.now

    # what happens to it

    def prompt(self) -> None:
        if self.run is None and self.session == "ready":
            method = where(DOCKER, SandboxRules(enabled=self.enabled), "codex")
            self.place += 1
            self.run = Run(status="dispatched", method=method, dispatched_at=self.now, stream_seq=self.place)

    def act(self, what: str) -> None:  # noqa: C901, PLR0912 - one case for each happening
        self.now += timedelta(milliseconds=1)
        name = container_name(SESSION, self.box.epoch)
        held = self.containers.get(name)
        match what:
            case "prompt":
                self.prompt()
            case "begin" if self.run is not None and self.run.status == "dispatched":
                if self.run.method == "process" or (held is not None and held.status == "running"):
                    self.run = replace(self.run, status="running")
            case "end" if self.run is not None and self.run.status == "running":
                self.end("completed")
            case "kill" if held is not None and held.status == "running":
                self.change(name, status="stopped", exit_code=137)
            case "oom" if held is not None and held.status == "running":
                self.change(name, status="stopped", exit_code=137, out_of_memory=True)
            case "lose":
                self.containers.pop(name, None)
            case "sicken" if held is not None:
                self.change(name, healthy=False)
            case "fail":
                self.fails += 1
            case "away" if not self.is_away:
                self.is_away, self.away_since = True, self.now
            case "back":
                self.is_away, self.away_since = False, None
            case "hour":
                self.now += timedelta(hours=1)
            case "set back":
                self.now -= timedelta(minutes=10)
            case "switch":
                self.enabled = not self.enabled
            case "delete session":
                self.session = "deleted"
                self.run = None
            case action if action in ACTIONS:
                self.wish(action)
            case _:
                pass

    def wish(self, action: Any) -> None:
        decided = control(self.at(), action, "ada")
        if not isinstance(decided, Refusal):
            for payload in decided:
                self.record(payload)


HAPPENINGS = [
    *("prompt", "prompt", "prompt", "begin", "begin", "end", "end"),
    *("kill", "oom", "lose", "sicken", "fail", "fail", "away", "back", "back", "hour", "set back", "switch"),
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


@pytest.mark.parametrize(
    ("installation", "team", "runner", "method"),
    [
        (PROCESSES, None, "codex", "process"),
        (PROCESSES, SandboxRules(enabled=True), "codex", "process"),
        (DOCKER, None, "codex", "docker"),
        (DOCKER, SandboxRules(enabled=False), "codex", "process"),
        (replace(DOCKER, enabled=False), None, "codex", "process"),
        (replace(DOCKER, enabled=False), SandboxRules(enabled=True), "codex", "docker"),
        (DOCKER, None, "external", "external"),
    ],
)
def test_where_a_run_goes(installation: Installation, team: SandboxRules | None, runner: str, method: str) -> None:
    assert where(installation, team, runner) == method


def test_rules_that_change_nothing_are_not_written() -> None:
    assert change_rules(None, SandboxRules(), "ada") == ()
    assert change_rules(SandboxRules(enabled=True), SandboxRules(enabled=True), "ada") == ()
    (changed,) = change_rules(SandboxRules(enabled=True), SandboxRules(), "ada")
    assert changed == change_rules(SandboxRules(enabled=False), SandboxRules(), "ada")[0]


def test_measures_are_told_every_ten_seconds_and_when_they_jump() -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)

    def told(samples: Sequence[tuple[float, float]], full: frozenset[float] = frozenset()) -> list[float]:
        last: Stats | None = None
        found: list[float] = []
        for second, cpu in samples:
            at = start + timedelta(seconds=second)
            now = Stats(at=at, cpu_percent=cpu, memory_bytes=100, disk_bytes=60_000_000 * (second in full))
            if is_worth_telling(last, now):
                last = now
                found.append(second)
        return found

    assert told([(second, 5.0) for second in range(25)]) == [0, 10, 20]
    assert told([(0, 5.0), (1, 90.0), (2, 90.0), (3, 91.0), (12, 90.0)]) == [0, 2, 12]
    assert told([(second, 5.0) for second in range(25)], frozenset(range(4, 25))) == [0, 4, 14, 24]

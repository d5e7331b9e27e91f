"""A session's sandbox without NATS and without an engine: the steps decided on are done, and things happen to it."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from runyard_events.catalogue import SandboxError, SandboxRules, SandboxRunning
from runyard_events.commands import SandboxAction
from runyard_orchestrator.domain.controls import control
from runyard_orchestrator.domain.facts import Fact, Refusal
from runyard_orchestrator.domain.rules import Installation, rules_of, where
from runyard_orchestrator.domain.run import Run
from runyard_orchestrator.domain.sandbox import SANDBOX_OWNER, Sandbox, evolve
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
from runyard_orchestrator.domain.upkeep import next_step
from runyard_sandbox import Sandbox as Container

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
    runtime: str | None = None
    """As the team's rules have it."""
    runtimes: dict[str, str | None] = field(default_factory=dict[str, str | None])
    """Of each container that was made."""
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
        own = SandboxRules(enabled=self.enabled, process_fallback=self.fallback, runtime=self.runtime)
        return Situation(
            session=self.session,  # type: ignore[arg-type]
            session_id=SESSION,
            runner_type="codex",
            sandbox=self.box,
            rules=rules_of(DOCKER, own),
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
            self.runtimes[name] = self.box.runtime
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
            case "rule":
                self.runtime = None if self.runtime else "runsc"
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

"""Where a run goes by the installation's and its team's rules."""

from dataclasses import replace

import pytest

from runyard_events.catalogue import Payload, SandboxRules
from runyard_orchestrator.domain.controls import change_rules
from runyard_orchestrator.domain.facts import Refusal
from runyard_orchestrator.domain.rules import PROCESSES, Installation, rules_of, where

from .plays import DOCKER

REQUIRED = replace(DOCKER, required=True, runtime="runsc")


@pytest.mark.parametrize(
    ("installation", "team", "runner", "method"),
    [
        (PROCESSES, None, "codex", "process"),
        (PROCESSES, SandboxRules(enabled=True), "codex", "process"),
        (DOCKER, None, "codex", "docker"),
        (DOCKER, SandboxRules(enabled=False), "codex", "process"),
        (replace(DOCKER, enabled=False), None, "codex", "process"),
        (replace(DOCKER, enabled=False), SandboxRules(enabled=True), "codex", "docker"),
        (replace(REQUIRED, enabled=False), None, "codex", "docker"),
        (REQUIRED, SandboxRules(enabled=False), "codex", "docker"),
        (DOCKER, None, "external", "external"),
    ],
)
def test_where_a_run_goes(installation: Installation, team: SandboxRules | None, runner: str, method: str) -> None:
    assert where(installation, team, runner) == method


def test_rules_that_change_nothing_are_not_written() -> None:
    assert _changed(None, SandboxRules()) == ()
    assert _changed(SandboxRules(enabled=True), SandboxRules(enabled=True)) == ()
    (changed,) = _changed(SandboxRules(enabled=True), SandboxRules())
    assert (changed,) == _changed(SandboxRules(enabled=False), SandboxRules())


ESCAPES = [SandboxRules(enabled=False), SandboxRules(process_fallback=True), SandboxRules(runtime="runc")]


@pytest.mark.parametrize("wanted", ESCAPES)
def test_no_team_gets_out_of_containers_that_are_required(wanted: SandboxRules) -> None:
    refused = change_rules(REQUIRED, None, wanted, "ada")
    assert isinstance(refused, Refusal)
    assert (refused.status, refused.type) == (403, "sandboxes-required")
    former = rules_of(REQUIRED, wanted)
    assert (former.enabled, former.process_fallback, former.runtime) == (True, False, "runsc")
    assert isinstance(change_rules(replace(REQUIRED, required=False), None, wanted, "ada"), tuple)


def test_what_does_not_lead_out_is_a_team_s_own_also_where_containers_are_required() -> None:
    wanted = SandboxRules(enabled=True, runtime="runsc", egress=("only.example",))
    assert isinstance(change_rules(REQUIRED, None, wanted, "ada"), tuple)
    assert rules_of(REQUIRED, wanted).egress == ("only.example",)


def _changed(known: SandboxRules | None, wanted: SandboxRules) -> tuple[Payload, ...]:
    changed = change_rules(DOCKER, known, wanted, "ada")
    assert isinstance(changed, tuple)
    return changed

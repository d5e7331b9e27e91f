"""Where a run goes by the installation's and its team's rules."""

from dataclasses import replace

import pytest

from runyard_events.catalogue import SandboxRules
from runyard_orchestrator.domain.controls import change_rules
from runyard_orchestrator.domain.rules import PROCESSES, Installation, where

from .plays import DOCKER


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

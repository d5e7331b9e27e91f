"""How long silence is borne: pure verdicts."""

from datetime import UTC, datetime, timedelta

import pytest

from runyard_orchestrator.domain.repair import Absences, Patience, resend_number, verdict
from runyard_orchestrator.domain.run import Run, RunStatus

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PATIENCE = Patience()


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def ends(run: Run, absent: float | None) -> str | None:
    found = verdict(run, now=NOW, absent_seconds=absent, patience=PATIENCE)
    return None if not found else getattr(found[-1], "reason", "")


@pytest.mark.parametrize("status", ["absent", "queued", "completed", "error", "cancelled"])
def test_runs_that_nobody_should_work_on_are_left_alone(status: RunStatus) -> None:
    assert ends(Run(status=status, dispatched_at=ago(1e6), started_at=ago(1e6)), 1e6) is None


@pytest.mark.parametrize(("absent", "reason"), [(None, None), (0.0, None), (59.0, None), (60.0, "runner_lost")])
@pytest.mark.parametrize("status", ["running", "waiting_approval", "cancelling"])
def test_a_runner_is_lost_after_the_grace(status: RunStatus, absent: float | None, reason: str | None) -> None:
    assert ends(Run(status=status, started_at=ago(100), cancel_requested_at=ago(1)), absent) == reason


def test_a_stop_that_no_runner_hears_is_carried_out() -> None:
    run = Run(status="cancelling", started_at=ago(100), cancel_requested_at=ago(20))
    assert ends(run, None) is None
    assert ends(run, 5.0) is None
    assert ends(run, 15.0) == "The run was stopped; its runner was gone."


def test_waiting_for_people_never_runs_out_of_time() -> None:
    over = Run(status="running", time_limit_seconds=100, started_at=ago(200))
    assert ends(over, None) == "time_limit"
    assert ends(Run(status="running", time_limit_seconds=100, started_at=ago(200), paused_seconds=50), None) is None
    assert ends(Run(status="waiting_approval", time_limit_seconds=100, started_at=ago(9999)), None) is None


def test_a_run_that_no_runner_takes_waits_as_long_as_it_might_have_run() -> None:
    run = Run(status="dispatched", time_limit_seconds=7200, dispatched_at=ago(7000))
    assert ends(run, 7000.0) is None
    assert ends(Run(status="dispatched", dispatched_at=ago(3700)), 3700.0) == "start_failed"
    assert ends(Run(status="dispatched", dispatched_at=ago(3700)), None) is None


def test_an_absence_counts_from_when_it_was_first_seen_without_a_break() -> None:
    absences = Absences()
    assert absences.observe("r", held=False, now=100) == 0
    assert absences.observe("r", held=False, now=150) == 50
    assert absences.observe("r", held=True, now=151) is None
    assert absences.observe("r", held=False, now=152) == 0
    absences.forget()
    assert absences.observe("r", held=False, now=500) == 0
    absences.keep_only({"other"})
    assert absences.observe("r", held=False, now=600) == 0


def test_errands_are_repeated_at_doubling_distances() -> None:
    assert [resend_number(age, PATIENCE) for age in (0, 29, 30, 59, 60, 119, 120, 239, 240)] == [
        *(0, 0, 1, 1, 2, 2, 3, 3, 4)
    ]

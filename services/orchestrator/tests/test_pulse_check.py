"""The health check of sessions' containers: a shell, and what the runner has written."""

import subprocess
from pathlib import Path

import pytest

from runyard_orchestrator.adapters.containers import PULSE_FILE, pulse_check
from runyard_orchestrator.sandbox_app import outfit_of
from runyard_orchestrator.settings import Settings

from .conftest import World


def checked(path: Path) -> tuple[int, str]:
    # With nothing to start: every word of it is the shell's own.
    shell, *words = pulse_check(str(path))
    done = subprocess.run([f"/bin/{shell}", *words], capture_output=True, text=True, env={"PATH": ""}, check=False)
    return done.returncode, done.stdout.strip()


@pytest.mark.parametrize(("age", "code", "said"), [(0, 0, ""), (15, 0, ""), (90, 1, "the runner has not moved for 9")])
def test_a_runner_is_well_while_it_has_written_lately(tmp_path: Path, age: int, code: int, said: str) -> None:
    uptime = int(float(Path("/proc/uptime").read_text().split()[0]))
    (tmp_path / "pulse").write_text(f"{uptime - age:>15}\n")
    found, words = checked(tmp_path / "pulse")
    assert (found, words[: len(said)]) == (code, said)


def test_without_a_pulse_nothing_is_said_and_one_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    assert checked(tmp_path / "pulse") == (0, "")
    (tmp_path / "pulse").write_text("")
    assert checked(tmp_path / "pulse")[0] != 0
    (tmp_path / "pulse").unlink()
    (tmp_path / "pulse").mkdir()
    assert checked(tmp_path / "pulse")[0] != 0


@pytest.mark.parametrize("method", ["docker", "kubernetes", "dokploy"])
def test_containers_of_sessions_are_looked_at_every_half_minute(world: World, method: str) -> None:
    settings: Settings = world.settings.model_copy(update={"sandbox": method})
    health = outfit_of(settings, "1000:1000").health
    if method == "dokploy":
        assert health is None
        return
    assert health is not None
    assert (health.every_seconds, health.timeout_seconds, health.retries) == (30, 5, 3)
    assert PULSE_FILE in health.test[-1]

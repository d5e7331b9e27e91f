"""`python -m runyard_runner_codex`: the service, configured by its environment."""

from runyard_chassis.service import run_service
from runyard_runner_codex.app import build
from runyard_runner_codex.settings import Settings

if __name__ == "__main__":
    run_service(build, Settings)

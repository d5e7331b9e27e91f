"""`python -m runyard_orchestrator`: the service by itself."""

from runyard_chassis import run_service
from runyard_orchestrator.app import build
from runyard_orchestrator.settings import Settings

if __name__ == "__main__":
    run_service(build, Settings)

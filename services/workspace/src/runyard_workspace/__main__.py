"""`python -m runyard_workspace`: the workspace service by itself."""

from runyard_chassis import run_service
from runyard_workspace.app import build
from runyard_workspace.settings import Settings

if __name__ == "__main__":
    run_service(build, Settings)

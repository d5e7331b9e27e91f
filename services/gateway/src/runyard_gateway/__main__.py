"""`python -m runyard_gateway`."""

from runyard_chassis.service import run_service
from runyard_gateway.app import build
from runyard_gateway.settings import Settings

if __name__ == "__main__":
    run_service(build, Settings)

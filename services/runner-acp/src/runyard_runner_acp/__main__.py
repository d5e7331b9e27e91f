"""`python -m runyard_runner_acp`: the service, or in a container the runner of one session; by its environment."""

import os

from runyard_runner.sandboxed import is_in_container, run_in_container
from runyard_runner_acp.adapters.agent import agents
from runyard_runner_acp.settings import Settings


def serve() -> None:
    """The pooled service. Its parts are loaded here: a container has no use for them."""
    from runyard_chassis.service import run_service  # noqa: PLC0415
    from runyard_runner_acp.app import build  # noqa: PLC0415

    run_service(build, Settings)


if __name__ == "__main__":
    if is_in_container(os.environ):
        run_in_container("runner-acp", Settings, agents)
    else:
        serve()

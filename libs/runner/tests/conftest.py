"""A bench with a stub agent."""

from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client

from runyard_runner.settings import RunnerSettings
from runyard_runner.testbench import KEY, Bench, MakeBench, make_bench
from runyard_runner.testing import Say, Script, Step, StubAgent


@pytest.fixture
def bench(nats_client: Client, tenant: str, tmp_path: Path) -> MakeBench:
    async def make(*steps: Step, script: Script | None = None, **changes: Any) -> Bench:
        values = {
            "workspaces_root": tmp_path / "workspaces",
            "agents_root": tmp_path / "agents",
            "run_token_key": KEY,
            "interrupt_grace_seconds": 0.5,
            **changes,
        }
        agent = StubAgent(script or (lambda _: steps or (Say(),)))
        return await make_bench(nats_client, agent, RunnerSettings.model_validate(values), tenant=tenant)

    return make

"""A bench with the real agents, offline."""

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client

from runyard_runner.adapter import AgentsByType
from runyard_runner.testbench import KEY, Bench, MakeBench, make_bench
from runyard_runner_acp.adapters.agent import agents
from runyard_runner_acp.settings import Settings


@pytest.fixture
async def bench(nats_client: Client, tenant: str, tmp_path: Path, model_url: str) -> AsyncIterator[MakeBench]:
    made: list[AgentsByType] = []

    async def make(**changes: Any) -> Bench:
        values = {
            "workspaces_root": tmp_path / "workspaces",
            "agents_root": tmp_path / "agents",
            # Installed once for all tests of this machine, by what is tested itself.
            "acp_installs": Path(tempfile.gettempdir()) / "runyard-test-agents",
            "run_token_key": KEY,
            "llm_gateway_url": model_url,
            **changes,
        }
        settings = Settings.model_validate(values)
        made.append(agents(settings))
        return await make_bench(nats_client, made[-1], settings, tenant=tenant, service="runner-acp")

    yield make
    for agent in made:
        await agent.close()

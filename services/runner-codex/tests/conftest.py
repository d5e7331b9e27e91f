"""A bench with the real Codex, offline."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client

from runyard_runner.testbench import KEY, Bench, MakeBench, make_bench
from runyard_runner_codex.adapters.agent import CodexAgent
from runyard_runner_codex.settings import Settings


@pytest.fixture
async def bench(nats_client: Client, tenant: str, tmp_path: Path, model_url: str) -> AsyncIterator[MakeBench]:
    agents: list[CodexAgent] = []

    async def make(**changes: Any) -> Bench:
        values = {
            "workspaces_root": tmp_path / "workspaces",
            "agents_root": tmp_path / "agents",
            "run_token_key": KEY,
            "llm_gateway_url": model_url,
            **changes,
        }
        settings = Settings.model_validate(values)
        agents.append(CodexAgent(settings))
        await agents[-1].prepare()
        return await make_bench(nats_client, agents[-1], settings, tenant=tenant)

    yield make
    for agent in agents:
        await agent.close()

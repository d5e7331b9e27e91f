"""The real agents, offline: a bench, and the scripted model as a server of its own."""

import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from nats.aio.client import Client

from runyard_runner.adapter import AgentsByType
from runyard_runner.testbench import KEY, Bench, MakeBench, make_bench
from runyard_runner_acp.adapters.agent import agents
from runyard_runner_acp.settings import Settings


@pytest.fixture(scope="session")
def model_url() -> Iterator[str]:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    command = [sys.executable, "-m", "runyard_llm_gateway.providers.scripted", "--port", str(port)]
    process = subprocess.Popen(command)
    url = f"http://127.0.0.1:{port}"
    transport = httpx.HTTPTransport(retries=10)
    try:
        with httpx.Client(transport=transport) as client:
            client.get(f"{url}/v1/models")
        yield url
    finally:
        process.terminate()
        process.wait(10)


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

"""The database away, the event log away: 503 with a problem, and as before when they are back."""

from pathlib import Path
from uuid import uuid4

import pytest

from runyard_stack.embedded.databases import ensure_database
from runyard_stack.embedded.nats import NatsServer
from runyard_stack.embedded.ports import free_port
from runyard_stack.embedded.postgres import PostgresServer

from .conftest import Start, Story
from .histories import imported


async def test_without_the_database_reads_are_503_until_it_is_back(
    start_gateway: Start, server_folder: Path, tenant: str, story: Story
) -> None:
    postgres = PostgresServer(server_folder / f"pg-{uuid4().hex}", free_port(), durable=False)
    postgres.start()
    try:
        url = await ensure_database(postgres, "away", "runyard", "runyard")
        async with start_gateway(database_url=url) as running, running.client(tenant) as api:
            assert (await api.get("/api/workspaces")).status_code == 200
            postgres.stop(timeout=1)
            for _ in range(3):
                answer = await api.get("/api/workspaces")
                assert (answer.status_code, answer.json()["type"]) == (503, "database-unavailable")
                assert answer.headers["retry-after"] == "1"
            workspace = str(uuid4())
            seq = await story.tell(story.workspace(workspace), *imported(), source="workspace")
            postgres.start()
            answer = await api.get(f"/api/workspaces/{workspace}", params={"min_seq": seq})
            while answer.status_code == 503:
                answer = await api.get(f"/api/workspaces/{workspace}", params={"min_seq": seq})
            assert answer.json()["status"] == "ready"
    finally:
        postgres.stop(timeout=1)


@pytest.mark.timeout(120)
async def test_without_the_log_writes_are_503_and_reads_go_on(
    start_gateway: Start, server_folder: Path, tenant: str
) -> None:
    from runyard_events.connection import connect  # noqa: PLC0415
    from runyard_events.topology import ensure_topology  # noqa: PLC0415

    nats = NatsServer(server_folder / f"nats-{uuid4().hex}", free_port(), durable=False)
    nats.start()
    try:
        client = await connect(nats.url, service="tests")
        await ensure_topology(client)
        await client.close()
        async with start_gateway(nats_url=nats.url, shutdown_grace_seconds=1) as running, running.client(tenant) as api:
            nats.stop()
            assert (await api.get("/api/workspaces")).status_code == 200
            answer = await api.post(f"/api/sessions/{uuid4()}/prompt", json={"prompt": "Go"})
            assert (answer.status_code, answer.json()["type"]) == (503, "commands-unavailable")
            assert (await api.get("/ready")).status_code in {200, 503}
    finally:
        nats.stop()

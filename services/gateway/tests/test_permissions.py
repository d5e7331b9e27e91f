"""The gateway does all of its work as a NATS user that may do nothing else."""

import json
from pathlib import Path
from uuid import uuid4

from websockets.asyncio.client import connect as connect_socket

from runyard_events.connection import connect
from runyard_events.log import EventLog
from runyard_events.permissions import permissions_for
from runyard_events.topology import ensure_topology
from runyard_stack.embedded.nats import NatsServer, NatsUser
from runyard_stack.embedded.ports import free_port

from .conftest import Start, Story
from .histories import completed, imported, opened, requested, worked
from .owners import serving

PASSWORD = "a-password"


async def test_reads_streams_outputs_and_commands_need_no_more_than_its_own_subjects(
    start_gateway: Start, server_folder: Path, tenant: str
) -> None:
    user = NatsUser("gateway", PASSWORD, permissions_for("gateway"))
    nats = NatsServer(
        server_folder / f"nats-{uuid4().hex}", free_port(), [user, NatsUser("admin", PASSWORD)], durable=False
    )
    nats.start()
    url = nats.url.replace("//", f"//admin:{PASSWORD}@")
    client = await connect(url, service="tests")
    try:
        await ensure_topology(client)
        story = Story(EventLog(client), tenant, {})
        own = {"nats_url": nats.url, "nats_user": "gateway", "nats_password": PASSWORD}
        async with start_gateway(**own) as running, running.client(tenant) as api, serving(story.log, url):
            ws, session, run = (str(uuid4()) for _ in range(3))
            await story.tell(story.workspace(ws), *imported(), source="workspace")
            await story.tell(story.session(session), *opened(ws))
            scope = story.run(session, run)
            seq = await story.tell(scope, *requested(ws), *worked(session), *completed())
            assert (await api.get(f"/api/runs/{run}", params={"min_seq": seq})).json()["status"] == "completed"
            assert (await api.get(f"/api/runs/{run}/events")).text.count("\ndata: ") == 11
            assert len((await api.get(f"/api/sessions/{session}/messages")).json()["items"]) == 2
            async with running.stream(f"/api/sessions/{session}/events", tenant) as stream:
                while (message := await stream.event()) is not None and message.id != seq:
                    pass
            assert message is not None
            address = running.url.replace("http", "ws", 1)
            async with connect_socket(f"{address}/ws/teams/{tenant}?token={running.token(tenant)}&from=0") as socket:
                assert json.loads(await socket.recv())["type"] == "agent-status"
            prompted = await api.post(f"/api/sessions/{session}/prompt", json={"prompt": "Go"})
            assert prompted.status_code == 201, prompted.text
            reference = f"{tenant}/{run}/{uuid4()}"
            store = await client.jetstream().object_store("outputs")
            await store.put(reference, b"x" * 300_000)
            assert len((await api.get(f"/api/outputs/{reference}")).content) == 300_000
            missing = await api.get(f"/api/outputs/{tenant}/{run}/{uuid4()}")
            assert missing.status_code == 404
    finally:
        await client.close()
        nats.stop()

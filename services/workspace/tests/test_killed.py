"""The service is killed in the middle of a clone: the command comes again, and nothing is left of the first try."""

import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

from nats.aio.client import Client
from nats.js import JetStreamContext

from runyard_events import CommandBus, EventLog, command, new_id
from runyard_events.subjects import workspace_subject
from runyard_stack.embedded.ports import free_port
from runyard_workspace.settings import Settings

from .conftest import import_of, serve_dumb
from .servers import static_server


def start(settings: Settings) -> "subprocess.Popen[bytes]":
    """The service as a process of its own."""
    env = {
        "PATH": os.environ["PATH"],
        "NATS_URL": settings.nats_url,
        "DATABASE_URL": settings.database_url.get_secret_value(),
        "JWT_SECRET_KEY": settings.jwt_secret_key.get_secret_value(),
        "WORKSPACES_ROOT": str(settings.workspaces_root),
        "IMPORT_SPARE_MIB": "0",
        "PORT": str(free_port()),
    }
    return subprocess.Popen([sys.executable, "-m", "runyard_workspace"], env=env)


async def test_a_clone_that_was_killed_is_begun_again_and_ends_once(
    settings: Settings, nats_client: Client, tenant: str, repository: Path, tmp_path: Path
) -> None:
    jetstream = JetStreamContext(nats_client)
    info = await jetstream.consumer_info("COMMANDS", "workspace")
    # Redelivery after one second instead of fifteen.
    await jetstream.add_consumer("COMMANDS", replace(info.config, ack_wait=1))
    gate, asked = threading.Event(), threading.Event()
    workspace, log = new_id(), EventLog(nats_client)
    with static_server(serve_dumb(repository, tmp_path / "www"), gate=gate, asked=asked) as address:
        wanted = import_of(f"{address}/repo.git", workspace, "git")
        await CommandBus(nats_client).send(command(wanted, tenant_id=tenant, actor="ada"))
        first = start(settings)
        while not asked.wait(0.05):
            assert first.poll() is None
        staging = settings.workspaces_root / ".staging"
        assert [path.name for path in staging.iterdir()]
        first.send_signal(signal.SIGKILL)
        first.wait()
        gate.set()
        second = start(settings)
        try:
            subject = workspace_subject(tenant, workspace, "lifecycle")
            async for stored in log.follow(subject, from_seq=1):
                if stored.event.type != "workspace.import_requested":
                    break
        finally:
            second.send_signal(signal.SIGTERM)
            assert second.wait(20) == 0
    types = [json.loads(one.data)["type"] async for one in log.replay(subject)]
    assert types == ["workspace.import_requested", "workspace.imported"]
    assert (settings.workspaces_root / workspace / "repo" / "README.md").exists()
    assert list(staging.iterdir()) == []

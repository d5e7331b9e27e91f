"""The embedded NATS server: what survives, and what is said when it cannot start."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import StreamConfig

from runyard_stack.embedded import EmbeddedError, NatsServer, NatsUser, PortTaken
from runyard_stack.embedded.ports import free_port


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    server = NatsServer(tmp_path / "nats", free_port())
    yield server
    server.stop()


async def connected(server: NatsServer, user: NatsUser | None = None) -> Client:
    connection = Client()
    await connection.connect(
        server.url,
        user=user.user if user else None,
        password=user.password if user else None,
        allow_reconnect=False,
        connect_timeout=1,
    )
    return connection


async def test_messages_survive_a_kill_and_a_restart(server: NatsServer) -> None:
    server.start()
    connection = await connected(server)
    declaration = StreamConfig(name="EVENTS", subjects=["ev.>"])
    await JetStreamContext(connection).add_stream(declaration)  # pyright: ignore[reportUnknownMemberType]
    await JetStreamContext(connection).publish("ev.one", b"kept")
    server.child.kill()
    await connection.close()

    await server.start_async()

    connection = await connected(server)
    stored = await JetStreamContext(connection).get_msg("EVENTS", 1)
    assert stored.data == b"kept"
    await connection.close()


async def test_a_user_publishes_only_where_it_may(tmp_path: Path) -> None:
    user = NatsUser("workspace", "secret-of-workspace", {"publish": {"allow": ["allowed.>"]}})
    server = NatsServer(tmp_path, free_port(), users=[user])
    server.start()
    refused: list[str] = []

    async def note(error: Exception) -> None:
        refused.append(str(error))

    connection = Client()
    await connection.connect(server.url, user=user.user, password=user.password, error_cb=note)
    await connection.publish("forbidden.x", b"")
    await connection.flush()
    await connection.publish("allowed.x", b"")
    await connection.flush()
    await connection.close()
    server.stop()
    assert [message for message in refused if "forbidden.x" in message]
    assert not [message for message in refused if "allowed.x" in message]


async def test_a_wrong_password_is_refused(tmp_path: Path) -> None:
    server = NatsServer(tmp_path, free_port(), users=[NatsUser("admin", "right")])
    server.start()
    with pytest.raises(NatsError, match=r"(?i)authorization"):
        await connected(server, NatsUser("admin", "wrong"))
    server.stop()


def test_the_configuration_with_passwords_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    server = NatsServer(tmp_path, free_port(), users=[NatsUser("admin", "right")])
    server.prepare()
    assert stat.S_IMODE((tmp_path / "nats.conf").stat().st_mode) == 0o600


def test_every_write_is_synced_unless_it_is_a_test_server(tmp_path: Path) -> None:
    assert NatsServer(tmp_path, 1).config()["jetstream"]["sync_interval"] == "always"
    assert "sync_interval" not in NatsServer(tmp_path, 1, durable=False).config()["jetstream"]


def test_a_taken_port_names_its_holder_and_the_remedy(server: NatsServer) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", server.port))
        other.listen()
        with pytest.raises(PortTaken, match=rf"Port {server.port}.*\n.*RUNYARD_PORT_BASE") as caught:
            server.start()
    assert str(os.getpid()) in caught.value.message


def test_a_store_that_is_not_a_folder_is_explained(server: NatsServer) -> None:
    server.folder.mkdir()
    (server.folder / "store").write_text("not a folder")
    with pytest.raises(EmbeddedError, match=r"ended with code.*\n(.*\n)*.*move .*store away"):
        server.start()


PARENT = """
import sys, time
from pathlib import Path
from runyard_stack.embedded import NatsServer
server = NatsServer(Path(sys.argv[1]), int(sys.argv[2]))
server.start()
print(server.child.pid, flush=True)
time.sleep(60)
"""


def test_a_server_does_not_outlive_a_killed_parent(server: NatsServer) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(server.folder), str(server.port)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout
    child = psutil.Process(int(parent.stdout.readline()))
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    child.wait(timeout=10)
    server.start()
    assert server.ready()


def test_an_orphan_is_found_by_its_pid_file_and_stopped(server: NatsServer) -> None:
    server.start()
    orphan = server.child.process
    assert orphan
    successor = NatsServer(server.folder, server.port)
    successor.start()
    assert orphan.wait(timeout=5) is not None
    assert successor.ready()
    successor.stop()


def test_a_pid_file_that_names_a_stranger_stops_nobody(server: NatsServer) -> None:
    server.folder.mkdir()
    server.child.pidfile.write_text(f"{os.getpid()} 1.0\n")
    assert server.child.orphan() is None


def test_the_configuration_is_json_that_the_server_accepts(server: NatsServer) -> None:
    server.start()
    assert json.loads((server.folder / "nats.conf").read_text())["server_name"] == "runyard"


async def test_streams_of_before_there_were_accounts_are_still_there(tmp_path: Path) -> None:
    port = free_port()
    before = NatsServer(tmp_path / "nats", port, durable=False)
    before.start()
    client = await connected(before)
    await client.jetstream().add_stream(name="KEPT", subjects=["kept"])
    await client.jetstream().publish("kept", b"word")
    await client.close()
    before.stop()

    ada = NatsUser("ada", "secret")
    after = NatsServer(tmp_path / "nats", port, durable=False, users=[ada])
    after.start()
    try:
        client = await connected(after, ada)
        assert (await client.jetstream().get_msg("KEPT", 1)).data == b"word"
        await client.close()
    finally:
        after.stop()

"""What a team allows its containers to reach, through the public API, the real proxy and a server outside."""

import asyncio
import ipaddress
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.conftest import LoopbackDoor
from tests.docker.conftest import docker

from runyard_stack.credentials import read_credentials

if TYPE_CHECKING:
    from tests.conftest import Api, Stack
    from tests.docker.conftest import Engine

pytestmark = [pytest.mark.docker, pytest.mark.agents, pytest.mark.timeout(180)]
WORDS = b"from the outside"


@pytest.fixture(scope="module")
def settings() -> dict[str, str]:
    bridge = docker("network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Subnet}}")
    return {"SANDBOX_PRIVATE_NETWORKS": str(ipaddress.ip_network(bridge))}


class _Words(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(WORDS)))
        self.end_headers()
        self.wfile.write(WORDS)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, ARG002
        return


@pytest.fixture
def outside() -> Iterator[tuple[str, int]]:
    """A server as the proxy reaches it."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Words)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with LoopbackDoor(server.server_address[1]) as door:
        yield str(door.server_address[0]), int(door.server_address[1])
        door.shutdown()
    server.shutdown()
    server.server_close()


def through(engine: "Engine", session: str, host: str, port: int) -> tuple[int, str]:
    """The proxy's answer to a container, and what the host said then."""
    program = f"""
import json, socket
with socket.create_connection(("runyard", 3128), 5) as proxy:
    proxy.sendall(b"CONNECT {host}:{port} HTTP/1.1\\r\\nHost: {host}:{port}\\r\\n\\r\\n")
    status, said = int(proxy.recv(4096).split()[1]), b""
    if status == 200:
        proxy.sendall(b"GET / HTTP/1.1\\r\\nHost: {host}\\r\\nConnection: close\\r\\n\\r\\n")
        while received := proxy.recv(4096):
            said += received
print(json.dumps([status, said.decode()]))
"""
    status, said = engine.python(session, program)
    return status, said


async def test_what_a_team_lists_is_reached_and_all_else_is_refused_and_told(
    api: "Api",
    stack: "Stack",
    engine: "Engine",
    repository: Path,
    outside: tuple[str, int],
    sandbox_events: Callable[..., Any],
) -> None:
    host, port = outside
    session = await api.session(await api.import_repository(repository), "codex")
    assert (await api.events(await api.prompt(session, "[[script: tokens 5]]")))[-1].type == "run.completed"
    credentials = read_credentials(stack.home / "secrets.json")
    assert credentials is not None
    rules = f"/api/teams/{credentials.tenant_id}/sandbox-rules"

    async def answer(host: str, port: int) -> tuple[int, str]:
        return await asyncio.to_thread(through, engine, session, host, port)

    async def until(wanted: int) -> str:
        async with asyncio.timeout(30):
            while (found := await answer(host, port))[0] != wanted:
                await asyncio.sleep(0.2)
        return found[1]

    assert await answer(host, port) == (403, "")
    await api.call("PUT", rules, json={"egress": [f"{host}:{port}"]})
    assert (await until(200)).endswith(WORDS.decode())
    others = [(host, 22), ("example.invalid", 443), ("github.com", 443)]
    assert [await answer(*one) for one in others] == [(403, "")] * 3

    async def denied() -> set[tuple[str, int]]:
        told = await sandbox_events(stack, session, "telemetry")
        return {
            (one["payload"]["host"], one["payload"]["port"]) for one in told if one["type"] == "sandbox.egress_denied"
        }

    async with asyncio.timeout(20):
        while await denied() != {(host, port), *others}:
            await asyncio.sleep(0.2)
    await api.call("PUT", rules, json={"egress": []})
    await until(403)

"""Previews of projects that are a compose file: what the page needs runs beside it, held as it is, and goes with it."""

import asyncio
import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from .conftest import NAMES, docker
from .preview_steps import BASE, images_of, lines_of, nothing_left, previewed, until, visitor

if TYPE_CHECKING:
    from tests.conftest import Api, Stack

    from .conftest import Engine

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]
COMPOSE = f"""
services:
  web:
    build:
      context: site
      dockerfile: web.Dockerfile
      args: {{WORD: "${{WORD:-none}}"}}
    command: python3 page.py
    ports: ["127.0.0.1:9999:8000"]
    environment: {{BACKEND: "http://store:7000/word", GREETING: "${{GREETING}}"}}
    env_file: [page.env]
    volumes: [".:/files:ro", "/srv/kept"]
    working_dir: /srv
    restart: always
    depends_on:
      store: {{condition: service_healthy}}
      prepare: {{condition: service_completed_successfully}}
  store:
    image: {BASE}
    entrypoint: ["/bin/sh", "-c"]
    command: ["sleep 2; echo stored > /data/word; cd /data; exec python3 -m http.server 7000"]
    volumes: ["data:/data"]
    healthcheck: {{test: ["CMD", "python3", "-c", "{{}}"], interval: 1s}}
  prepare:
    image: {BASE}
    entrypoint: [sh, -c, "echo prepared"]
  other:
    image: {BASE}
    privileged: true
volumes: {{data: }}
""".replace("{}", "import urllib.request as r; r.urlopen('http://localhost:7000/word')")
PAGE = """
import http.server, json, os, socket, urllib.request

def dials(host, port):
    try:
        socket.create_connection((host, port), 2).close()
    except OSError:
        return False
    return True

def get(url):
    try:
        return urllib.request.urlopen(url, timeout=5).read().decode().strip()
    except OSError as error:
        return str(getattr(error, "code", None) or error)

class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps(self.report() if self.path == "/report" else "here").encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

    def report(self):
        told = json.load(open("/files/hosts.json"))
        return {
            "word": get(os.environ["BACKEND"]),
            "greeting": os.environ["GREETING"],
            "file": os.environ["FILE"],
            "built": open("/srv/word").read().strip(),
            "kept": os.listdir("/srv/kept"),
            "outside": get("http://not-allowed.example/"),
            "reached": [f"{host}:{port}" for host, port in told if dials(host, port)],
            "uid": os.getuid(),
        }

http.server.HTTPServer(("", int(os.environ["PORT"])), Page).serve_forever()
"""
FILES = {
    "compose.yaml": COMPOSE,
    ".env": "WORD=from-env\nGREETING=hello\n",
    "page.env": "FILE=said $GREETING\nGREETING=overruled\n",
    "site/web.Dockerfile": f"FROM {BASE}\nUSER root\nARG WORD\nRUN mkdir -p /srv/kept && echo x > /srv/kept/x "
    '&& echo "$WORD" > /srv/word\nCOPY page.py /srv/\n',
    "site/page.py": PAGE,
}


@pytest.fixture(scope="module")
def settings() -> dict[str, str]:
    return {"SANDBOX_PREVIEW_IMAGE": BASE, "RECONCILE_SECONDS": "1", "PREVIEW_START_SECONDS": "120"}


def _containers(engine: "Engine", preview: str) -> list[str]:
    return sorted(docker("ps", "--all", "--filter", f"label=runyard.owner={preview}", *NAMES).split())


def _inspected(name: str) -> Any:
    return json.loads(docker("inspect", name))[0]


def _networks(name: str) -> set[str]:
    return set(_inspected(name)["NetworkSettings"]["Networks"])


async def test_a_page_gets_what_it_needs_beside_it_in_its_order_and_all_of_it_goes(
    api: "Api", stack: "Stack", engine: "Engine", tmp_path: Path
) -> None:
    listed = subprocess.run(["hostname", "-I"], capture_output=True, text=True, check=True).stdout.split()
    hosts = [(host, stack.port_base + 1) for host in [*listed, "172.17.0.1"] if ":" not in host]
    preview = await previewed(api, tmp_path, {**FILES, "hosts.json": json.dumps(hosts)})
    ready = await until(api, preview, "ready")
    assert (ready["method"], ready["framework"]) == ("docker", "compose")
    page = f"runyard-preview-{preview}-1"
    assert _containers(engine, preview) == [page, f"{page}.1", f"{page}.2"]
    async with visitor(api, preview) as client:
        report = (await client.get("/report")).json()
    assert report.pop("uid") > 0
    assert report == {
        "word": "stored",
        "greeting": "hello",
        "file": "said hello",
        "built": "from-env",
        "kept": ["x"],
        "outside": "403",
        "reached": [],
    }
    for name in _containers(engine, preview):
        host = _inspected(name)["HostConfig"]
        assert (host["CapDrop"], host["Privileged"], host["PidsLimit"]) == (["ALL"], False, 256)
        assert host["Memory"] == (1024**3 if name == page else 512 * 1024**2)
        assert bool(host.get("Mounts")) is (name == page)
    assert _networks(page) == _networks(f"{page}.1") == _networks(f"{page}.2")
    volumes = [one["Name"] for one in _inspected(page)["Mounts"] if one["Type"] == "volume"]
    assert len(volumes) == 1
    assert "store | " in await lines_of(api, preview)
    assert "prepare | prepared" in await lines_of(api, preview)
    told: set[str] = set()
    async for one in api.stream(f"/api/previews/{preview}/logs?follow=true"):
        match one.type:
            case "sandbox.logged":
                told |= set(one.payload["lines"])
            case "sandbox.egress_denied":
                told.add(f"refused {one.payload['host']}:{one.payload['port']}")
            case _:
                pass
        printed = any(line.startswith("store | ") for line in told)
        if printed and {"prepare | prepared", "refused not-allowed.example:80"} <= told:
            break

    await api.call("POST", f"/api/previews/{preview}/restart")
    await until(api, preview, "ready", generation=2)
    again = f"runyard-preview-{preview}-2"
    assert _containers(engine, preview) == [again, f"{again}.1", f"{again}.2"]

    # One of both has done what it is for; without the other the page is nothing, and it is brought back.
    docker("kill", f"{again}.1" if _inspected(f"{again}.1")["State"]["Running"] else f"{again}.2")
    await until(api, preview, "ready", generation=3)

    last, at_most = _networks(f"runyard-preview-{preview}-3"), engine.everything()
    await api.call("POST", f"/api/previews/{preview}/stop")
    await nothing_left(engine, preview, at_most)
    async with asyncio.timeout(30):
        while last & set(engine.everything()["networks"]):
            await asyncio.sleep(0.2)
    assert not images_of(engine)
    assert docker("volume", "ls", "--quiet", "--filter", f"name={volumes[0]}") == ""
    await api.call("DELETE", f"/api/previews/{preview}")


async def test_what_cannot_be_served_says_which_service_and_key(api: "Api", tmp_path: Path) -> None:
    compose = f"services: {{web: {{image: '{BASE}', ports: [80], volumes: ['/var/run/docker.sock:/x']}}}}"
    preview = await previewed(api, tmp_path, {"compose.yaml": compose})
    failed = await until(api, preview, "failed", generation=0)
    assert failed["reason"] == "not_detected"
    assert "Service web, `volumes`: /var/run/docker.sock is a path of the host" in failed["message"]


async def test_a_service_that_fails_is_the_preview_s_failure_with_its_lines(
    api: "Api", engine: "Engine", tmp_path: Path
) -> None:
    compose = (
        f"services: {{web: {{image: '{BASE}', ports: [80], depends_on: {{db: {{condition: "
        f"service_completed_successfully}}}}}}, db: {{image: '{BASE}', entrypoint: [sh, -c, 'echo no disk; exit 3']}}}}"
    )
    before = engine.everything()
    preview = await previewed(api, tmp_path, {"compose.yaml": compose})
    failed = await until(api, preview, "failed")
    assert (failed["reason"], failed["exit_code"]) == ("exited", 3)
    assert "Its service db ended with exit code 3" in failed["message"]
    assert "db | no disk" in failed["log_tail"]
    await nothing_left(engine, preview, before)

"""Previews of projects that are a Dockerfile: built and served by a real engine, held while they build, and gone."""

import asyncio
import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .conftest import docker
from .preview_steps import BASE, images_of, lines_of, nothing_left, previewed, until, visitor

if TYPE_CHECKING:
    from tests.conftest import Api, Stack

    from .conftest import Engine

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]
PROBE = """
import json, os, socket, urllib.request

def dials(host, port):
    try:
        socket.create_connection((host, port), 3).close()
    except OSError:
        return False
    return True

def gets(url):
    try:
        return urllib.request.urlopen(url, timeout=5).status
    except OSError as error:
        return getattr(error, "code", None) or str(error)

told = json.load(open("hosts.json"))
report = {
    "uid": os.getuid(),
    "reached": [f"{host}:{port}" for host, port in told if dials(host, port)],
    "proxied": gets("http://not-allowed.example/"),
    "socket": os.path.exists("/var/run/docker.sock"),
    "memory": open("/sys/fs/cgroup/memory/memory.limit_in_bytes").read().strip()
    if os.path.exists("/sys/fs/cgroup/memory/memory.limit_in_bytes")
    else open("/sys/fs/cgroup/memory.max").read().strip(),
    "secrets": sorted(name for name in os.environ if "TOKEN" in name or "SECRET" in name or "KEY" in name),
}
json.dump(report, open("report.json", "w"))
"""
DOCKERFILE = f"""FROM {BASE}
USER root
WORKDIR /srv
COPY . .
RUN python3 probe.py
EXPOSE 8000
CMD ["python3", "-m", "http.server", "8000"]
"""


@pytest.fixture(scope="module")
def settings() -> dict[str, str]:
    return {"SANDBOX_PREVIEW_IMAGE": BASE, "RECONCILE_SECONDS": "1", "PREVIEW_START_SECONDS": "120"}


def _unnamed() -> set[str]:
    argv = ["docker", "images", "--all", "--quiet", "--no-trunc", "--filter", "dangling=true"]
    return set(subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split())


def _hosts(stack: "Stack") -> list[tuple[str, int]]:
    """Where a build must not get: the services on every address of this host, the metadata address, the outside."""
    listed = subprocess.run(["hostname", "-I"], capture_output=True, text=True, check=True).stdout.split()
    here = [*listed, "172.17.0.1", "10.213.0.1"]
    ports = (stack.port_base + 1, stack.port_base + 11)
    return [
        *((host, port) for host in here if ":" not in host for port in ports),
        ("169.254.169.254", 80),
        ("1.1.1.1", 443),
    ]


async def test_a_dockerfile_is_built_held_served_rebuilt_and_leaves_nothing(
    api: "Api", stack: "Stack", engine: "Engine", tmp_path: Path
) -> None:
    files = {
        "Dockerfile": DOCKERFILE,
        ".dockerignore": "*.secret\n",
        "key.secret": "hidden",
        "index.html": "<p>hello</p>",
        "probe.py": PROBE,
        "hosts.json": json.dumps(_hosts(stack)),
    }
    before = engine.everything()
    preview = await previewed(api, tmp_path, files, framework="dockerfile")
    ready = await until(api, preview, "ready")
    assert (ready["method"], ready["framework"]) == ("docker", "dockerfile")
    assert engine.inside(preview, "id", "-u") != "0"
    assert "Serving HTTP" in await lines_of(api, preview)
    usage = await api.call("GET", f"/api/previews/{preview}/stats")
    assert 0 < usage["memory_bytes"] < usage["memory_limit_bytes"] == 1024**3
    async with visitor(api, preview) as client:
        assert "hello" in (await client.get("/")).text
        assert (await client.get("/key.secret")).status_code == 404
        report = (await client.get("/report.json")).json()
    assert report["uid"] == 0
    assert (report["reached"], report["proxied"], report["socket"], report["secrets"]) == ([], 403, False, [])
    assert int(report["memory"]) == 2 * 1024**3
    async for one in api.stream(f"/api/previews/{preview}/logs?follow=true"):
        if one.type == "sandbox.egress_denied":
            assert (one.payload["host"], one.payload["port"]) == ("not-allowed.example", 80)
            break
    assert len(images_of(engine)) == 1

    await api.call("POST", f"/api/previews/{preview}/restart")
    await until(api, preview, "ready", generation=2)
    async with asyncio.timeout(30):
        while len(images_of(engine)) != 1:
            await asyncio.sleep(0.2)

    await api.call("DELETE", f"/api/previews/{preview}")
    await nothing_left(engine, preview, before)
    assert not images_of(engine)


async def test_a_build_that_fails_shows_its_last_lines_and_leaves_nothing(
    api: "Api", engine: "Engine", tmp_path: Path
) -> None:
    before = _unnamed()
    steps = f"FROM {BASE}\nCOPY . /srv\nRUN echo {tmp_path.name} first\nRUN echo no such thing >&2; exit 3\n"
    preview = await previewed(api, tmp_path, {"Dockerfile": steps})
    failed = await until(api, preview, "failed")
    assert failed["reason"] == "build_failed"
    assert "non-zero code: 3" in failed["message"]
    assert "no such thing" in failed["log_tail"]
    assert not images_of(engine)
    built = _unnamed() - before
    tried = [docker("image", "history", "--no-trunc", "--format", "{{.CreatedBy}}", one, check=False) for one in built]
    assert not [one for one in tried if tmp_path.name in one], "what failed has left layers"
    async with visitor(api, preview) as client:
        assert "no such thing" in (await client.get("/", headers={"Accept": "text/html"})).text


async def test_a_build_that_is_not_wanted_any_more_ends(api: "Api", engine: "Engine", tmp_path: Path) -> None:
    before = engine.everything()
    steps = f"FROM {BASE}\nRUN echo {tmp_path.name} waiting; sleep 600\n"
    preview = await previewed(api, tmp_path, {"Dockerfile": steps})
    async with asyncio.timeout(60):
        while "waiting" not in (await lines_of(api, preview)).split("Running in")[-1]:
            await asyncio.sleep(0.2)
    await api.call("DELETE", f"/api/previews/{preview}")
    await nothing_left(engine, preview, before)
    waiting = ["docker", "ps", "--quiet", "--filter", "status=running", "--no-trunc", "--format", "{{.Command}}"]
    async with asyncio.timeout(30):
        while tmp_path.name in subprocess.run(waiting, capture_output=True, text=True, check=True).stdout:
            await asyncio.sleep(0.2)


async def test_an_image_cannot_be_given_labels_that_are_ours(api: "Api", engine: "Engine", tmp_path: Path) -> None:
    before = engine.everything()
    steps = f"FROM {BASE}\nLABEL runyard.page.80=5001\nEXPOSE 80\n"
    preview = await previewed(api, tmp_path, {"Dockerfile": steps})
    failed = await until(api, preview, "failed")
    assert failed["reason"] == "build_failed"
    assert "runyard.page.80" in failed["message"]
    await nothing_left(engine, preview, before)


@pytest.mark.usefixtures("stack")
async def test_an_image_that_nothing_wants_is_reaped(engine: "Engine", tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(f"FROM {BASE}\n")
    ours = [engine.label.removeprefix("label="), "runyard.kind=image", "runyard.owner=gone", "runyard.epoch=1"]
    labels = [word for one in ours for word in ("--label", one)]
    argv = ["docker", "build", "--quiet", *labels, str(tmp_path)]
    without = {**os.environ, "DOCKER_BUILDKIT": "0"}
    await asyncio.to_thread(subprocess.run, argv, env=without, capture_output=True, check=True)
    async with asyncio.timeout(60):
        while images_of(engine):
            await asyncio.sleep(0.2)

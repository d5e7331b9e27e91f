"""Steps that tests of previews in images of their own share."""

import asyncio
import os
import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx

from .conftest import docker

if TYPE_CHECKING:
    from tests.conftest import Api

    from .conftest import Engine

BASE = f"runyard/preview:{os.environ.get('TAG', 'latest')}"
"""An image that is there without a registry."""
STANDING = {"containers": 1, "networks": 3}
"""The proxy, its network to the outside, and two networks that are ready for the next."""


def images_of(engine: "Engine") -> list[str]:
    return docker("images", "--quiet", "--filter", engine.label).split()


async def imported(api: "Api", folder: Path, files: dict[str, str]) -> str:
    """The workspace of a repository with these files."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    identity = ["-c", "user.name=Tester", "-c", "user.email=tester@example.com"]
    for arguments in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "first"]):
        await asyncio.to_thread(subprocess.run, ["git", *identity, *arguments], cwd=folder, check=True)
    return await api.import_repository(folder)


async def previewed(api: "Api", folder: Path, files: dict[str, str], **asked: str) -> str:
    workspace = await imported(api, folder, files)
    return str((await api.call("POST", "/api/previews", json={"workspace_id": workspace, **asked}))["preview_id"])


async def until(api: "Api", preview: str, status: str, generation: int = 1) -> Any:
    async with asyncio.timeout(120):
        while True:
            found = await api.call("GET", f"/api/previews/{preview}")
            if found["status"] == status and found["generation"] >= generation:
                return found
            # What has vanished is brought back by itself.
            has_failed = found["status"] == "failed" and found["reason"] != "vanished"
            assert status == "failed" or not has_failed, found
            await asyncio.sleep(0.2)


async def lines_of(api: "Api", preview: str) -> str:
    return "\n".join(line["text"] for line in (await api.call("GET", f"/api/previews/{preview}/logs"))["lines"])


async def nothing_left(engine: "Engine", preview: str, before: dict[str, list[str]]) -> None:
    """Waits until nothing is the preview's, and there is no more of anything than `before` it."""
    owner = f"label=runyard.owner={preview}"
    ours = (["ps", "--all", "--quiet"], ["volume", "ls", "--quiet"], ["images", "--quiet"])

    def left() -> list[str]:
        kept = [docker(*one, "--filter", owner).split() for one in ours]
        now = engine.everything()
        stay = {kind: max(len(names), STANDING.get(kind, 0)) for kind, names in before.items()}
        more = [f"{kind}: {now[kind]}" for kind, number in stay.items() if len(now[kind]) > number]
        return [*(name for names in kept for name in names), *more]

    found: list[str] = []
    try:
        async with asyncio.timeout(60):
            while found := await asyncio.to_thread(left):
                await asyncio.sleep(0.2)
    except TimeoutError:
        raise AssertionError(f"left: {found}") from None


@asynccontextmanager
async def visitor(api: "Api", preview: str) -> AsyncGenerator[httpx.AsyncClient]:
    """Somebody who came in by a link; his client knows that the preview's host is this machine."""
    opened: dict[str, str] = await api.call("POST", f"/api/previews/{preview}/open")
    link = urlsplit(opened["url"])
    base, headers = f"http://127.0.0.1:{link.port}", {"Host": link.netloc}
    async with httpx.AsyncClient(base_url=base, headers=headers, timeout=30, trust_env=False) as client:
        entered = await client.get(f"{link.path}?{link.query}")
        client.headers["Cookie"] = entered.headers["Set-Cookie"].partition(";")[0]
        yield client

"""Previews below a domain of the installation's own."""

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx
import pytest

from .own_stack import stack, token

if TYPE_CHECKING:
    from tests.conftest import Api, Stack

__all__ = ["stack", "token"]

pytestmark = [pytest.mark.timeout(180)]
DOMAIN = "shown.example.com"


@pytest.fixture(scope="module")
def settings(request: pytest.FixtureRequest) -> dict[str, str]:
    # A plain process's page is at its own container's loopback there, out of the gateway's reach.
    composed = {"SANDBOX": "docker", "SANDBOX_PREVIEW_IMAGE": f"runyard/preview:{os.environ.get('TAG', 'latest')}"}
    return {"PREVIEW_DOMAIN": DOMAIN, **(composed if request.config.getoption("--stack") == "compose" else {})}


async def test_a_preview_s_link_and_page_are_at_the_domain_that_is_configured_and_nowhere_else(
    api: "Api", stack: "Stack", repository: Path
) -> None:
    body = {
        "workspace_id": await api.import_repository(repository),
        "command": "python3 -m http.server $PORT --bind $HOST",
    }
    preview = (await api.call("POST", "/api/previews", json=body))["preview_id"]
    async with asyncio.timeout(90):
        while (found := await api.call("GET", f"/api/previews/{preview}"))["status"] != "ready":
            assert found["status"] != "failed", found
            await asyncio.sleep(0.1)
    shown = urlsplit(str(found["url"]))
    link = urlsplit(str((await api.call("POST", f"/api/previews/{preview}/open"))["url"]))
    assert shown.netloc == link.netloc
    assert str(shown.hostname).endswith(f".{DOMAIN}")

    async with httpx.AsyncClient(base_url=stack.url, trust_env=False) as visitor:
        entered = await visitor.get(f"{link.path}?{link.query}", headers={"Host": link.netloc})
        assert entered.status_code in {302, 303, 307}
        assert urlsplit(entered.headers["Location"]).hostname in {None, shown.hostname}
        visitor.cookies.clear()  # kept for 127.0.0.1, where a browser keeps it for the preview's own name
        cookie = {"Cookie": entered.headers["Set-Cookie"].partition(";")[0]}
        page = await visitor.get("/README.md", headers={"Host": shown.netloc, **cookie})
        assert (page.status_code, page.text) == (200, "# A project\n")
        assert (await visitor.get("/README.md", headers={"Host": shown.netloc})).status_code == 401
        usual = shown.netloc.replace(DOMAIN, "preview.localhost")
        assert (await visitor.get("/README.md", headers={"Host": usual, **cookie})).status_code == 404
    await api.call("DELETE", f"/api/previews/{preview}")

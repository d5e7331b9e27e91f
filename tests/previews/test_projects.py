"""Real projects in a real browser, through the proxy: opened, edited, and seen to change."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import pytest
from playwright.async_api import Browser, Page, expect

from .projects import PROJECTS, STATIC, VITE, Project

if TYPE_CHECKING:
    from tests.conftest import Api

Imported = Callable[[Project], Awaitable[str]]
Until = Callable[..., Awaitable[Any]]
METHODS = {"off": "process", "docker": "docker"}
pytestmark = [pytest.mark.browser, pytest.mark.timeout(400)]


async def _opened(api: "Api", browser: Browser, preview: str) -> Page:
    page = await browser.new_page()
    await page.goto(await _link(api, preview))
    return page


async def _link(api: "Api", preview: str) -> str:
    return (await api.call("POST", f"/api/previews/{preview}/open"))["url"]


@pytest.mark.parametrize("project", PROJECTS, ids=lambda project: project.framework)
async def test_a_project_is_shown_and_an_edit_of_the_session_s_files_is_seen(
    api: "Api", browser: Browser, imported: Imported, until: Until, project: Project, sandbox: str
) -> None:
    session = await api.session(await imported(project), "codex")
    preview = (await api.call("POST", "/api/previews", json={"session_id": session}))["preview_id"]
    ready = await until(preview, "ready")
    assert (ready["framework"], ready["method"]) == (project.framework, METHODS[sandbox])
    assert 5000 <= ready["port"] <= 8999
    page, hot = await browser.new_page(), asyncio.Event()
    # A development server's client tells of edits from the first message on that its socket brings.
    page.on("websocket", lambda socket: socket.on("framereceived", lambda _: hot.set()))
    await page.goto(await _link(api, preview))
    assert page.url == ready["url"]
    await expect(page.locator("#app")).to_have_text("hello", timeout=60_000)
    await page.evaluate("window.mark = 1")
    path = f"/api/sessions/{session}/workspace/files/{project.edited}"
    if project.is_hot:
        await asyncio.wait_for(hot.wait(), 60)
    await api.call("PUT", path, content=project.edit.encode())
    if project.is_hot:
        await expect(page.locator("#app")).to_have_text("goodbye", timeout=30_000)
        assert await page.evaluate("window.mark") == 1, "the page was loaded anew"
    else:
        await _reload_until(page, "goodbye")
    files = (await api.call("GET", f"/api/sessions/{session}/workspace/files"))["items"]
    assert not [one for one in files if one["path"].startswith(("node_modules/", ".venv/", ".next/"))]
    await api.call("DELETE", f"/api/previews/{preview}")


async def _reload_until(page: Page, text: str) -> None:
    for _ in range(60):
        await page.reload()
        if await page.locator("#app").count() and await page.locator("#app").text_content() == text:
            return
        await page.wait_for_timeout(250)
    raise AssertionError(await page.content())


async def test_a_visitor_sees_that_it_starts_then_the_page_itself(
    api: "Api", browser: Browser, imported: Imported, until: Until
) -> None:
    session = await api.session(await imported(STATIC), "codex")
    slow = 'until [ -e go ]; do sleep 0.1; done; exec python3 -m http.server "$PORT" --bind "$HOST" --directory public'
    body = {"session_id": session, "command": slow}
    preview = (await api.call("POST", "/api/previews", json=body))["preview_id"]
    page = await _opened(api, browser, preview)
    await expect(page.locator("h1")).to_have_text("The preview is starting")
    await api.call("PUT", f"/api/sessions/{session}/workspace/files/go", content=b"")
    await expect(page.locator("#app")).to_have_text("hello", timeout=30_000)
    await until(preview, "ready")
    await api.call("POST", f"/api/previews/{preview}/stop")
    await until(preview, "stopped")
    await page.reload()
    await expect(page.locator("h1")).to_have_text("The preview is stopped")
    await api.call("DELETE", f"/api/previews/{preview}")


async def test_a_failed_preview_shows_its_last_lines_and_runs_none_of_them(
    api: "Api", browser: Browser, imported: Imported, until: Until
) -> None:
    command = "echo '<img src=x onerror=\"document.title=1\">'; exit 3"
    body = {"workspace_id": await imported(STATIC), "command": command}
    preview = (await api.call("POST", "/api/previews", json=body))["preview_id"]
    failed = await until(preview, "failed")
    assert (failed["reason"], failed["exit_code"]) == ("exited", 3)
    page = await _opened(api, browser, preview)
    await expect(page.locator("h1")).to_have_text("The preview failed")
    await expect(page.locator("pre")).to_contain_text("onerror")
    assert await page.title() == "The preview failed"
    logs = await api.call("GET", f"/api/previews/{preview}/logs")
    assert "onerror" in logs["lines"][0]["text"]


async def test_shared_links_open_until_they_are_revoked_and_others_see_nothing(
    api: "Api", browser: Browser, imported: Imported, until: Until
) -> None:
    body = {"workspace_id": await imported(STATIC), "branch": "main"}
    preview = (await api.call("POST", "/api/previews", json=body))["preview_id"]
    ready = await until(preview, "ready")
    share = await api.call("POST", f"/api/previews/{preview}/shares", json={"expires_in": 600})
    guest = await (await browser.new_context()).new_page()
    await guest.goto(share["url"])
    await expect(guest.locator("#app")).to_have_text("hello")
    assert guest.url == ready["url"]
    assert "token" not in await guest.evaluate("document.cookie + location.href")
    stranger = await (await browser.new_context()).new_page()
    answer = await stranger.goto(ready["url"])
    assert answer is not None
    assert answer.status == 401
    await api.call("DELETE", f"/api/previews/{preview}/shares/{share['share_id']}")
    answer = await guest.goto(ready["url"])
    assert answer is not None
    assert answer.status == 401
    revoked = await api.call("GET", f"/api/previews/{preview}/shares/{share['share_id']}")
    assert (revoked["url"], revoked["revoked_at"] is None) == (None, False)


async def test_the_console_may_frame_a_preview(api: "Api", browser: Browser, imported: Imported, until: Until) -> None:
    preview = (await api.call("POST", "/api/previews", json={"workspace_id": await imported(STATIC)}))["preview_id"]
    await until(preview, "ready")
    link = (await api.call("POST", f"/api/previews/{preview}/open"))["url"]
    # Another site, as the console's address is one: the cookie is a third party's in there.
    framing = f"<!doctype html><iframe src={json.dumps(link)}></iframe>".encode()

    async def console(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n" + framing)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(console, "127.0.0.1", 0) as server:
        page = await browser.new_page()
        await page.goto(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
        await expect(page.frame_locator("iframe").locator("#app")).to_have_text("hello")


async def test_logs_are_followed_as_events(api: "Api", imported: Imported, until: Until) -> None:
    session = await api.session(await imported(VITE), "codex")
    preview = (await api.call("POST", "/api/previews", json={"session_id": session}))["preview_id"]
    await until(preview, "ready")
    async for one in api.stream(f"/api/previews/{preview}/logs?follow=true"):
        if one.type == "sandbox.logged" and "VITE" in "\n".join(one.payload["lines"]):
            break
    lines = (await api.call("GET", f"/api/previews/{preview}/logs?tail=50"))["lines"]
    assert any("VITE" in line["text"] for line in lines)
    await api.call("DELETE", f"/api/sessions/{session}")
    assert (await until(preview, "stopped"))["reason"] == "session_deleted"

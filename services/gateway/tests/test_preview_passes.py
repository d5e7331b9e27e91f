"""Who gets in at a preview: links, shared links, cookies, and what each of them opens."""

import asyncio
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest

from runyard_chassis import Tokens
from runyard_gateway.previews.passes import Holder, Passes, expiry

from .sites import COOKIE, HTML, ID, SECRET, TENANT, Site, site

__all__ = ["site"]


async def test_without_a_pass_there_is_nothing_to_see_and_nothing_to_learn(site: Site) -> None:
    for host in (site.host, site.host.replace(ID, "another-preview")):
        async with site.request("/echo/x", pass_="", headers={**HTML, "Host": host}) as answer:
            assert answer.status == 401
            assert "You need a link" in await answer.text()
    async with site.request("/echo/x", pass_="") as answer:
        assert answer.content_type == "application/problem+json"
        assert (await answer.json())["type"] == "preview-link-needed"


async def test_a_link_opens_once_and_leaves_a_cookie_of_this_host_alone(site: Site) -> None:
    token = site.passes.mint("open", Holder(TENANT, ID, "ada"), expiry(60))
    async with site.request(f"/__runyard/open?token={token}", pass_="") as answer:
        assert answer.status == 303
        assert answer.headers["Location"] == "/"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith(f"{COOKIE}=")
    assert "Domain" not in cookie
    assert {"Path=/", "HttpOnly", "Secure", "SameSite=None", "Partitioned"} <= set(cookie.split("; "))
    async with site.request("/echo/x", pass_=cookie.split(";")[0]) as answer:
        assert answer.status == 200
    async with site.request(f"/__runyard/open?token={token}", pass_="") as answer:
        assert answer.status == 401


async def test_a_pass_opens_its_own_preview_for_its_own_team_and_in_its_own_way_only(site: Site) -> None:
    open_, share = (site.passes.mint(kind, Holder(TENANT, ID, "ada"), expiry(60)) for kind in ("open", "share"))
    refused = [
        site.cookie(preview="another"),
        site.cookie(tenant="another"),
        f"{COOKIE}={open_}",
        f"{COOKIE}={Passes(SECRET + '!').mint('cookie', Holder(TENANT, ID, 'ada'), expiry(60))}",
        f"{COOKIE}={site.passes.mint('cookie', Holder(TENANT, ID, 'ada'), expiry(-1))}",
        f"{COOKIE}={Tokens(SECRET).mint(tenant=TENANT, user='ada')}",
        site.cookie().removeprefix("__Host-"),
    ]
    for one in refused:
        async with site.request("/echo/x", pass_=one) as answer:
            assert answer.status == 401
    for path in (f"/__runyard/share?token={open_}", f"/__runyard/open?token={share}", "/__runyard/else"):
        async with site.request(path, pass_="") as answer:
            assert answer.status == 401
            assert "Set-Cookie" not in answer.headers


async def test_a_shared_link_opens_again_and_again_until_it_is_revoked(site: Site) -> None:
    site.book.shares["s1"] = datetime.now(UTC) + timedelta(hours=1)
    holder = Holder(TENANT, ID, share="s1")
    token, cookie = site.passes.mint("share", holder, expiry(60)), ""
    for _ in range(2):
        async with site.request(f"/__runyard/share?token={token}", pass_="") as answer:
            assert answer.status == 303
            cookie = answer.headers["Set-Cookie"].split(";")[0]
    async with site.request("/echo/x", pass_=cookie) as answer:
        assert answer.status == 200
    async with site.socket(headers={"Cookie": cookie}) as socket:
        await socket.receive_json()
        del site.book.shares["s1"]
        async with site.request("/echo/x", pass_=cookie) as answer:
            assert answer.status == 401
        message = await asyncio.wait_for(socket.receive(), 10)
        assert (message.type, socket.close_code) == (aiohttp.WSMsgType.CLOSE, 4401)
    async with site.request(f"/__runyard/share?token={token}", pass_="") as answer:
        assert answer.status == 401


async def test_an_answer_without_an_end_is_ended_when_its_link_is_revoked(site: Site) -> None:
    site.book.shares["s1"] = datetime.now(UTC) + timedelta(hours=1)
    async with site.request("/drip", pass_=site.cookie(user=None, share="s1")) as answer:
        assert await answer.content.readany() == b"first"
        del site.book.shares["s1"]
        with pytest.raises(aiohttp.ClientPayloadError):
            await asyncio.wait_for(answer.content.read(), 10)
    await asyncio.wait_for(site.program.state.ended.wait(), 20)


async def test_whoever_waits_for_an_answer_is_told_when_his_link_is_revoked(site: Site) -> None:
    site.book.shares["s1"] = datetime.now(UTC) + timedelta(hours=1)
    cookie = site.cookie(user=None, share="s1")

    async def revoked() -> None:
        await site.program.state.asked.wait()
        site.book.shares.clear()

    revoking = asyncio.create_task(revoked())
    for status in (502, 401):
        async with site.request("/never", pass_=cookie) as answer:
            assert answer.status == status
    await revoking


async def test_who_was_let_in_goes_on_while_nobody_can_tell_whether_he_may(site: Site) -> None:
    async with site.request("/drip") as answer:
        assert await answer.content.readany() == b"first"
        site.book.fault = ConnectionRefusedError()
        await asyncio.wait_for(site.book.failed.wait(), 10)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(answer.content.readany(), 0.5)


async def test_an_expired_share_opens_nothing(site: Site) -> None:
    site.book.shares["s1"] = datetime.now(UTC) - timedelta(seconds=1)
    async with site.request("/echo/x", pass_=site.cookie(user=None, share="s1")) as answer:
        assert answer.status == 401

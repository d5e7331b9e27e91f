"""What the proxy remembers of a preview is forgotten as soon as the preview's rows are written anew."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import httpx

from runyard_events.catalogue import PreviewReady, PreviewShared, PreviewShareRevoked, PreviewStopped
from runyard_gateway.previews.passes import Holder, expiry

from .conftest import Running, Start, Story
from .histories import previewed
from .sites import COOKIE

NOBODY = "127.0.0.1:9"


async def test_a_preview_that_has_stopped_is_asked_nothing_more_however_long_its_rows_are_believed(
    start_gateway: Start, story: Story, tenant: str
) -> None:
    preview = str(uuid4())
    async with start_gateway(preview_believe_seconds=600) as gateway:
        visitor = Holder(tenant, preview, "ada")
        begun = (*previewed(str(uuid4()))[:-1], PreviewReady(generation=1, address=NOBODY, took_ms=1))
        await gateway.parts.consistency.shows(await story.tell(story.preview(preview), *begun))
        assert await _answered(gateway, visitor) == "preview-silent"
        stopped = PreviewStopped(generation=1, reason="user")
        await gateway.parts.consistency.shows(await story.tell(story.preview(preview), stopped))
        assert await _answered(gateway, visitor) == "preview-stopped"


async def test_a_shared_link_that_is_revoked_opens_nothing_more(
    start_gateway: Start, story: Story, tenant: str
) -> None:
    preview, share = str(uuid4()), str(uuid4())
    async with start_gateway(preview_believe_seconds=600) as gateway:
        guest = Holder(tenant, preview, share=share)
        shared = PreviewShared(share_id=share, expires_at=datetime.now(UTC) + timedelta(hours=1))
        begun = (*previewed(str(uuid4()))[:-1], PreviewReady(generation=1, address=NOBODY, took_ms=1), shared)
        await gateway.parts.consistency.shows(await story.tell(story.preview(preview), *begun))
        assert await _answered(gateway, guest) == "preview-silent"
        revoked = PreviewShareRevoked(share_id=share)
        await gateway.parts.consistency.shows(await story.tell(story.preview(preview), revoked))
        assert await _answered(gateway, guest) == "preview-link-needed"


async def _answered(gateway: Running, visitor: Holder) -> str:
    """The type of the problem that a visitor is told."""
    host = gateway.parts.preview_addresses.origin(visitor.preview).removeprefix("http://")
    headers = {"Host": host, "Cookie": f"{COOKIE}={gateway.parts.passes.mint('cookie', visitor, expiry(60))}"}
    async with httpx.AsyncClient(base_url=gateway.url, trust_env=False, timeout=20) as browser:
        return (await browser.get("/", headers=headers)).json()["type"]

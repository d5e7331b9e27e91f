"""What the proxy remembers of a preview is forgotten as soon as the preview's rows are written anew."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

from runyard_events.catalogue import PreviewShared, PreviewShareRevoked, PreviewStopped
from runyard_gateway.previews.passes import Holder

from .conftest import Start, Story
from .histories import previewed
from .sites import NOBODY, visited


async def test_a_preview_that_has_stopped_is_asked_nothing_more_however_long_its_rows_are_believed(
    start_gateway: Start, story: Story, tenant: str
) -> None:
    preview = str(uuid4())
    async with start_gateway(preview_believe_seconds=600) as gateway:
        visitor = Holder(tenant, preview, "ada")
        begun = previewed(str(uuid4()), address=NOBODY)
        await gateway.parts.consistency.shows(await story.tell(story.preview(preview), *begun))
        assert await visited(gateway, visitor) == "preview-silent"
        stopped = PreviewStopped(generation=1, reason="user")
        await gateway.parts.consistency.shows(await story.tell(story.preview(preview), stopped))
        assert await visited(gateway, visitor) == "preview-stopped"


async def test_a_shared_link_that_is_revoked_opens_nothing_more(
    start_gateway: Start, story: Story, tenant: str
) -> None:
    preview, share = str(uuid4()), str(uuid4())
    async with start_gateway(preview_believe_seconds=600) as gateway:
        guest = Holder(tenant, preview, share=share)
        shared = PreviewShared(share_id=share, expires_at=datetime.now(UTC) + timedelta(hours=1))
        begun = (*previewed(str(uuid4()), address=NOBODY), shared)
        await gateway.parts.consistency.shows(await story.tell(story.preview(preview), *begun))
        assert await visited(gateway, guest) == "preview-silent"
        revoked = PreviewShareRevoked(share_id=share)
        await gateway.parts.consistency.shows(await story.tell(story.preview(preview), revoked))
        assert await visited(gateway, guest) == "preview-link-needed"

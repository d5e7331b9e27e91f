"""A container of one's own: for how long its token is good, and how what it waits for ends."""

import asyncio
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from runyard_chassis import Tokens
from runyard_chassis.tokens import SESSION_AUDIENCE, SESSION_KEY, derive_key
from runyard_events.catalogue import SessionCreated, SessionReady
from runyard_gateway.streaming.inbox import Inbox, Message

from .conftest import KEY, Start, Story


async def _opened(story: Story) -> tuple[str, int]:
    """A session for a container of one's own, and where that was told."""
    session = str(uuid4())
    created = SessionCreated(workspace_id=str(uuid4()), runner_type="external", thread_id="t")
    ready = SessionReady(repo_path="/w/s", thread_id="t", branch="runyard/s", base_commit="c0ffee")
    return session, await story.tell(story.session(session), created, ready)


@pytest.mark.parametrize(("days", "lasts"), [(None, timedelta(days=7)), (0.5, timedelta(hours=12))])
async def test_it_is_good_for_a_week_unless_the_installation_says_otherwise(
    start_gateway: Start, story: Story, tenant: str, days: float | None, lasts: timedelta
) -> None:
    session, told = await _opened(story)
    settings = {} if days is None else {"session_token_days": days}
    async with start_gateway(**settings) as gateway, gateway.client(tenant) as api:
        await gateway.parts.consistency.shows_all(told)
        given = (await api.post(f"/api/sessions/{session}/container/token")).json()
        tokens = Tokens(derive_key(KEY, SESSION_KEY), SESSION_AUDIENCE)
        claims = tokens.verify(given["token"])
        old = tokens.mint(tenant=tenant, session=session, epoch=1, lifetime=timedelta(minutes=-5))
        answers = [
            (await api.get(given["messages_path"], headers={"Authorization": f"Bearer {token}"})).status_code
            for token in (given["token"], old)
        ]
    assert (claims.tenant, claims.session, claims.user, claims.run) == (tenant, session, None, None)
    assert abs(claims.expires - datetime.now(UTC) - lasts) < timedelta(minutes=5)
    assert abs(datetime.fromisoformat(given["expires_at"]) - claims.expires) < timedelta(seconds=5)
    assert answers == [200, 401]


async def test_who_waits_for_something_to_do_is_answered_when_the_service_stops(
    start_gateway: Start, story: Story, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, told = await _opened(story)
    waiting, follow = asyncio.Event(), Inbox.follow

    async def followed(inbox: Inbox, after: int) -> AsyncGenerator[Message]:
        waiting.set()
        async for message in follow(inbox, after):
            yield message

    monkeypatch.setattr(Inbox, "follow", followed)
    async with start_gateway() as gateway, gateway.client(tenant) as api:
        await gateway.parts.consistency.shows_all(told)
        given = (await api.post(f"/api/sessions/{session}/container/token")).json()
        headers = {"Authorization": f"Bearer {given['token']}"}
        asking = asyncio.create_task(api.get(given["messages_path"], params={"wait": 55}, headers=headers))
        await waiting.wait()
        gateway.stop.set()
        answer = await asking
    assert (answer.status_code, answer.json()["messages"]) == (200, [])

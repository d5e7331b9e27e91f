"""The fixtures that every other test stands on."""

import asyncio

from nats.aio.client import Client
from nats.js import JetStreamContext
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from runyard_events.permissions import SERVICES
from runyard_stack.testing import SecuredNats


async def test_a_test_gets_a_database_with_pgvector_and_no_superuser(database_url: str) -> None:
    engine = create_async_engine(database_url)
    async with engine.connect() as connection:
        assert await connection.scalar(text("SELECT '[1,2,3]'::vector <-> '[1,2,3]'::vector")) == 0
        assert await connection.scalar(text("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")) is False
    await engine.dispose()


async def test_a_test_gets_declared_and_empty_streams(nats_client: Client) -> None:
    info = await JetStreamContext(nats_client).stream_info("EVENTS")
    assert info.state.messages == 0
    assert {"ev.>"} == set(info.config.subjects or [])


async def test_a_service_cannot_write_where_another_one_decides(secured_nats: SecuredNats) -> None:
    for service in SERVICES:
        refused = asyncio.Event()

        async def note(error: Exception, refused: asyncio.Event = refused) -> None:
            if "permissions violation" in str(error).lower():
                refused.set()

        connection = Client()
        await connection.connect(
            secured_nats.url, user=service, password=secured_nats.passwords[service], error_cb=note
        )
        await connection.publish("ev.tenant.user.somebody.lifecycle", b"{}")
        await connection.publish("$JS.API.STREAM.DELETE.EVENTS", b"")
        await asyncio.wait_for(refused.wait(), 20)
        await connection.close()

"""The fixtures that every other test stands on."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine


async def test_a_test_gets_a_database_with_pgvector_and_no_superuser(database_url: str) -> None:
    engine = create_async_engine(database_url)
    async with engine.connect() as connection:
        assert await connection.scalar(text("SELECT '[1,2,3]'::vector <-> '[1,2,3]'::vector")) == 0
        assert (
            await connection.scalar(text("SELECT rolsuper FROM pg_roles WHERE rolname = current_user"))
            is False
        )
    await engine.dispose()

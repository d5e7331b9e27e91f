"""Rows that are behind the log, for as long as a test wants it: what a busy database does now and then."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from runyard_stack.embedded.databases import plain


@asynccontextmanager
async def rows_held(database_url: str, schema: str, projection: str) -> AsyncGenerator[None]:
    """No row of this projection changes in this block, whatever is appended meanwhile."""
    engine = create_async_engine(database_url, poolclass=NullPool)
    lock = text(f"select stream_seq from {plain(schema)}.checkpoints where consumer = :name for update")  # noqa: S608
    try:
        async with engine.connect() as connection:
            (await connection.execute(lock, {"name": projection})).one()
            yield
    finally:
        await engine.dispose()

"""Declares streams, consumers and buckets on a server: `python -m runyard_events`.

NATS_URL, NATS_USER and NATS_PASSWORD say which server, and a user who may.
"""

import asyncio
import os

from runyard_events.connection import connect
from runyard_events.topology import ensure_topology


async def declare() -> None:
    """Raises `LogUnavailable` when the server does not answer."""
    client = await connect(
        os.environ.get("NATS_URL", "nats://127.0.0.1:9111"),
        service="stack",
        user=os.environ.get("NATS_USER"),
        password=os.environ.get("NATS_PASSWORD"),
    )
    try:
        await ensure_topology(client, replicas=int(os.environ.get("NATS_REPLICAS", "1")))
    finally:
        await client.close()


if __name__ == "__main__":
    asyncio.run(declare())

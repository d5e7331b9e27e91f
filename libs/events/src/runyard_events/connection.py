"""One connection to NATS per service, with an inbox prefix of its own so that no other user reads its answers."""

import asyncio
from collections.abc import Callable
from typing import Any

import structlog
from nats.aio.client import Client
from nats.errors import Error as NatsError

from runyard_events.errors import LogUnavailable

logger = structlog.get_logger(__name__)

PENDING_BYTES = 16 * 1024 * 1024
_ASKED_TO_SIGN_IN_AGAIN = ("authentication expired", "authentication revoked", "authentication timeout")


def inbox_prefix(service: str) -> str:
    """The prefix of the reply subjects of a service's connections."""
    return f"_INBOX_{service.replace('-', '_')}"


class _Connection(Client):
    """A client that begins anew, too, when it was let in for a time and the time is over."""

    async def _process_err(self, err_msg: str) -> None:
        if any(reason in err_msg.lower() for reason in _ASKED_TO_SIGN_IN_AGAIN):
            await self._process_op_err(NatsError(err_msg.strip("'")))
            return
        await super()._process_err(err_msg)


async def connect(
    url: str,
    *,
    service: str,
    user: str | None = None,
    password: str | None = None,
    wait_seconds: float = 30.0,
    on_refused: Callable[[], None] = lambda: None,
) -> Client:
    """Connects and stays connected: reconnects for ever, with what was not yet sent kept in memory.

    `on_refused` is called each time that the server does not take the user and password, which it is then
    offered again.

    Raises:
        LogUnavailable: no server answered within `wait_seconds`, or it refused the user.
    """

    async def on_error(error: Exception) -> None:
        logger.warning("nats.error", service=service, error=str(error) or type(error).__name__)
        if "authorization violation" in str(error).lower():
            on_refused()

    client = _Connection()

    async def on_disconnected() -> None:
        if not client.is_closed:
            logger.warning("nats.disconnected", service=service)

    async def on_reconnected() -> None:
        logger.info("nats.reconnected", service=service)

    options: dict[str, Any] = {"user": user, "password": password} if user else {}
    try:
        async with asyncio.timeout(wait_seconds):
            await client.connect(
                url,
                name=f"runyard-{service}",
                inbox_prefix=inbox_prefix(service),
                max_reconnect_attempts=-1,
                reconnect_time_wait=0.25,  # pyright: ignore[reportArgumentType] - fractions work
                connect_timeout=2,
                ping_interval=10,
                max_outstanding_pings=2,
                pending_size=PENDING_BYTES,
                error_cb=on_error,
                disconnected_cb=on_disconnected,
                reconnected_cb=on_reconnected,
                **options,
            )
    except (TimeoutError, OSError, NatsError) as error:
        raise LogUnavailable(f"NATS at {_without_password(url)} does not answer: {error or 'time-out'}") from error
    return client


def _without_password(url: str) -> str:
    scheme, _, rest = url.rpartition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}" if scheme else rest.rpartition("@")[2]

"""Whether a container's token will ever be taken again.

NATS only says no: the orchestrator may be away for a moment, or the token's time may be over. The gateway
knows which it is.
"""

import asyncio
import urllib.error
import urllib.request
from http import HTTPStatus

import structlog

logger = structlog.get_logger(__name__)

TIMEOUT_SECONDS = 10
PAUSE_SECONDS = 2.0


class Standing:
    """A session's token, as the gateway sees it."""

    def __init__(self, app_url: str, session_id: str, session_token: str) -> None:
        self._url = f"{app_url}/api/container-webhooks/{session_id}"
        self._token = session_token
        self._doubted = asyncio.Event()

    def doubt(self) -> None:
        """The token was refused somewhere."""
        self._doubted.set()

    async def over(self) -> None:
        """Returns when it is certain that the token opens nothing any more."""
        while True:
            await self._doubted.wait()
            if await asyncio.to_thread(self._is_refused):
                logger.warning("session.over")
                return
            self._doubted.clear()
            await asyncio.sleep(PAUSE_SECONDS)

    def _is_refused(self) -> bool:
        request = urllib.request.Request(self._url, headers={"Authorization": f"Bearer {self._token}"})  # noqa: S310
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with direct.open(request, timeout=TIMEOUT_SECONDS):
                return False
        except urllib.error.HTTPError as error:
            return error.code == HTTPStatus.UNAUTHORIZED
        except (OSError, ValueError):
            return False

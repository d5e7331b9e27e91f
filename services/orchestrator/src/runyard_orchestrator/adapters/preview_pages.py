"""Whether a preview's page answers, and where."""

import asyncio
import contextlib
import errno
import socket

import httpx

_LOOPBACK = "127.0.0.1:"


class PreviewPages:
    """Asks for pages as the proxy does. Any answer will do: an error page is a page."""

    def __init__(self, *, timeout_seconds: float = 5.0) -> None:
        self._seconds = timeout_seconds
        self._client = httpx.AsyncClient(timeout=timeout_seconds, trust_env=False, follow_redirects=False)

    async def close(self) -> None:
        """Lets go of connections."""
        await self._client.aclose()

    async def answering(self, address: str, port: int) -> str | None:
        """The address that answers: the given one, or the same port where only IPv6 is listened on; None: neither."""
        others = [f"[::1]:{port}"] if address == f"{_LOOPBACK}{port}" else []
        for one in (address, *others):
            if await self._answers(one, port):
                return one
        return None

    async def _answers(self, address: str, port: int) -> bool:
        headers = {"Host": f"localhost:{port}", "Accept": "text/html,*/*", "User-Agent": "runyard-health"}
        # The client's own time-out is for each piece: a page that comes byte by byte would be waited for without end.
        with contextlib.suppress(httpx.HTTPError, TimeoutError):
            async with (
                asyncio.timeout(self._seconds),
                self._client.stream("GET", f"http://{address}/", headers=headers),
            ):
                return True
        return False


def is_free(port: int) -> bool:
    """Whether nobody on this host has a port now, by either of the addresses at which a page is looked for."""
    return _can_listen(socket.AF_INET, "127.0.0.1", port) and _can_listen(socket.AF_INET6, "::1", port)


def _can_listen(family: socket.AddressFamily, address: str, port: int) -> bool:
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address, port))
    except OSError as error:
        return error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)  # a host without IPv6
    return True

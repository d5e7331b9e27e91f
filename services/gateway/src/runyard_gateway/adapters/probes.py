"""How the other services are: all asked at once, none waited for long."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass

import aiohttp

_SECONDS = 2.0
_OK = 200


@dataclass(frozen=True, slots=True)
class Probe:
    """A service's answer: `ok`, `not_ready`, `timeout` or `down`."""

    service: str
    status: str
    latency_ms: float | None


class Probes:
    """Asks every service's `/ready`."""

    def __init__(self, addresses: Mapping[str, str]) -> None:
        self._addresses = addresses

    async def ask_all(self) -> list[Probe]:
        """One probe per service, in the order of the settings."""
        timeout = aiohttp.ClientTimeout(total=_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            return list(await asyncio.gather(*(_ask(session, name, url) for name, url in self._addresses.items())))


async def _ask(session: aiohttp.ClientSession, name: str, address: str) -> Probe:
    began = time.perf_counter()
    try:
        async with session.get(f"{address.rstrip('/')}/ready") as answer:
            await answer.read()
            status = "ok" if answer.status == _OK else "not_ready"
    except TimeoutError:
        return Probe(name, "timeout", None)
    except (aiohttp.ClientError, OSError, ValueError):
        return Probe(name, "down", None)
    return Probe(name, status, round((time.perf_counter() - began) * 1000, 2))

"""Liveness, readiness and metrics: the three routes that every service answers."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from fastapi import APIRouter
from prometheus_client import CollectorRegistry
from starlette.responses import Response

from runyard_chassis.logs import get_logger
from runyard_chassis.metrics import EXPOSITION_TYPE, exposition
from runyard_chassis.problems import Unavailable

Check = Callable[[], Awaitable[Any]]
"""Returns (anything but False) when what it looks at works, raises when it does not."""
Detail = Callable[[], str]
"""Says how something is without which the service still does its work."""

_log = get_logger(__name__)


def health_router(
    checks: Mapping[str, Check],
    registry: CollectorRegistry,
    *,
    check_timeout: float,
    details: Mapping[str, Detail] | None = None,
) -> APIRouter:
    """Routes `/health`, `/ready` and `/metrics`. `details` are shown by `/ready` and never make it fail."""
    router = APIRouter(tags=["service"])

    @router.get("/health", summary="Is the process alive?")
    async def health() -> dict[str, str]:  # pyright: ignore[reportUnusedFunction]
        return {"status": "ok"}

    @router.get("/ready", summary="Can it do its work now?")
    async def ready() -> dict[str, Any]:  # pyright: ignore[reportUnusedFunction]
        results = dict(
            zip(
                checks,
                await asyncio.gather(*(_outcome(n, c, check_timeout) for n, c in checks.items())),
                strict=True,
            )
        )
        failing = sorted(name for name, outcome in results.items() if outcome != "ok")
        if failing:
            raise Unavailable(f"Not ready: {', '.join(failing)}.", type="not-ready", checks=results)
        shown = {name: detail() for name, detail in (details or {}).items()}
        return {"status": "ok", "checks": results, **({"details": shown} if shown else {})}

    @router.get("/metrics", response_class=Response, include_in_schema=False)
    async def metrics() -> Response:  # pyright: ignore[reportUnusedFunction]
        return Response(exposition(registry), media_type=EXPOSITION_TYPE)

    return router


async def _outcome(name: str, check: Check, seconds: float) -> str:
    try:
        async with asyncio.timeout(seconds):
            return "failing" if await check() is False else "ok"
    except TimeoutError:
        return "timed out"
    except Exception as error:  # noqa: BLE001  # any failure means not ready; its text may hold an address or a key
        _log.warning("ready.check_failed", check=name, error=str(error) or type(error).__name__)
        return "failing"

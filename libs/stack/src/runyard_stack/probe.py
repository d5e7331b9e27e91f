"""Asking a service whether it is ready, without an HTTP library in the supervisor."""

import asyncio
import json
from typing import Any, cast

from runyard_stack.layout import HOST


async def ask_ready(port: int, timeout: float = 3.0) -> tuple[bool, str]:  # noqa: ASYNC109 - a socket's limit
    """`GET /ready`: whether it is, and in words what is missing."""
    try:
        async with asyncio.timeout(timeout):
            status, body = await _get(port, "/ready")
    except TimeoutError:
        return False, "does not answer"
    except (OSError, ValueError, asyncio.IncompleteReadError):
        return False, "not listening"
    if status == 200:  # noqa: PLR2004
        return True, "ready"
    checks: dict[str, Any] = body.get("checks") or {}
    failing = [f"{name} {outcome}" for name, outcome in checks.items() if outcome != "ok"]
    return False, ", ".join(failing) or f"answers {status}"


async def _get(port: int, path: str) -> tuple[int, dict[str, Any]]:
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {HOST}:{port}\r\nConnection: close\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        body = await reader.read()
    finally:
        writer.close()
    status = int(head.split(" ", 2)[1])
    try:
        content: Any = json.loads(body)
    except ValueError:
        content = {}
    return status, cast("dict[str, Any]", content) if isinstance(content, dict) else {}

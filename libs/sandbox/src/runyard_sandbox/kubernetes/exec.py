"""A command in a pod, over the API's WebSocket: one byte of channel, then bytes."""

import asyncio
import json
import ssl
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import urlencode

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI
from websockets.typing import Subprotocol

from runyard_sandbox.provisioner import EngineAway, ExecResult, NotSupported, NotThere, SandboxFault

V5, V4 = Subprotocol("v5.channel.k8s.io"), Subprotocol("v4.channel.k8s.io")
_STDIN, _STDOUT, _STDERR, _ERROR, _CLOSE = 0, 1, 2, 3, 255
_MOST_OUTPUT = 1024 * 1024
_PIECE = 32 * 1024
_NOT_FOUND = 404


async def run_in_pod(
    address: str,
    command: Sequence[str],
    *,
    container: str,
    stdin: bytes | None,
    headers: Mapping[str, str],
    tls: ssl.SSLContext | bool,
) -> ExecResult:
    """Runs it to its end. `address` is the pod's `exec` subresource, with http or https.

    When the caller gives up, the connection is closed; Kubernetes does not end the command then.

    Raises:
        NotThere: no such pod or container.
        NotSupported: the server speaks only v4, by which the end of stdin cannot be told.
        EngineAway: no answer, or it broke off.
    """
    query = [("container", container), ("stdout", "true"), ("stderr", "true")]
    query += [("stdin", "true")] if stdin is not None else []
    query += [("command", part) for part in command]
    uri = f"ws{address.removeprefix('http')}?{urlencode(query)}"
    try:
        async with connect(
            uri,
            subprotocols=[V5, V4],
            additional_headers=dict(headers),
            ssl=tls if isinstance(tls, ssl.SSLContext) else None,
            max_size=None,
            proxy=None,
            close_timeout=1,
        ) as socket:
            return await _talk(socket, stdin)
    except InvalidStatus as error:
        if error.response.status_code == _NOT_FOUND:
            raise NotThere("no such pod or container") from None
        raise EngineAway(f"Kubernetes answered {error.response.status_code} to exec") from None
    except (OSError, InvalidHandshake, InvalidURI, ConnectionClosed) as error:
        raise EngineAway(f"Kubernetes does not answer: {type(error).__name__}") from None


async def _talk(socket: ClientConnection, stdin: bytes | None) -> ExecResult:
    if stdin is not None and socket.subprotocol != V5:
        raise NotSupported("this Kubernetes cannot be told where stdin ends (before 1.30)")
    sending = asyncio.create_task(_send(socket, stdin)) if stdin is not None else None
    output, status = bytearray(), dict[str, Any]()
    try:
        async for message in socket:
            data = message.encode() if isinstance(message, str) else message
            if data[0] in {_STDOUT, _STDERR}:
                output += data[1:]
                del output[:-_MOST_OUTPUT]
            elif data[0] == _ERROR:
                status = json.loads(data[1:])
    finally:
        if sending is not None:
            sending.cancel()
    if not status:
        raise EngineAway("Kubernetes ended the command's connection before its end")
    return ExecResult(_exit_code(status), bytes(output))


async def _send(socket: ClientConnection, stdin: bytes) -> None:
    with suppress(ConnectionClosed):  # the command has ended without reading all of it
        for start in range(0, len(stdin), _PIECE):
            await socket.send(bytes([_STDIN]) + stdin[start : start + _PIECE])
        await socket.send(bytes([_CLOSE, _STDIN]))


def _exit_code(status: Mapping[str, Any]) -> int:
    """Out of the Status that ends the error channel."""
    if status.get("status") == "Success":
        return 0
    for cause in status.get("details", {}).get("causes", []):
        if cause.get("reason") == "ExitCode":
            return int(cause["message"])
    raise SandboxFault(f"the command could not be run: {status.get('message', 'no reason given')}")

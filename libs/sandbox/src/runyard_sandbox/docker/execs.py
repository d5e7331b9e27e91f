"""A command inside a running container: its input through the connection, never through arguments that others see."""

import socket
import struct
import time
from collections.abc import Iterator, Sequence
from typing import Any

from runyard_sandbox.docker.engine import Engine
from runyard_sandbox.provisioner import MIB, ExecResult

_HEADER = struct.Struct(">BxxxL")
_CHUNK = 65536
_MOST_OUTPUT = MIB


async def run_inside(
    engine: Engine, name: str, command: Sequence[str], *, stdin: bytes | None, timeout_seconds: float
) -> ExecResult:
    """Runs it as the container's own user.

    Raises:
        Refused, EngineAway; TimeoutError: it had not ended in time. The engine cannot end it: it goes on inside.
    """
    return await engine.call(
        lambda client: _run(client, name, list(command), stdin, timeout_seconds), longer_seconds=timeout_seconds
    )


def _run(client: Any, name: str, command: list[str], stdin: bytes | None, seconds: float) -> ExecResult:
    made = client.exec_create(name, command, stdin=stdin is not None, stdout=True, stderr=True)
    answer = client.exec_start(made["Id"], socket=True)
    stream: socket.socket = getattr(answer, "_sock", answer)
    deadline = time.monotonic() + seconds
    try:
        if stdin is not None:
            stream.settimeout(seconds)
            stream.sendall(stdin)
            stream.shutdown(socket.SHUT_WR)
        output = bytearray()
        for part in _parts(stream, deadline):
            output += part
            del output[:-_MOST_OUTPUT]
    finally:
        answer.close()
        stream.close()
    return ExecResult(int(client.exec_inspect(made["Id"])["ExitCode"]), bytes(output))


def _parts(stream: socket.socket, deadline: float) -> Iterator[bytes]:
    """What both of its streams carry, without the headers that say which."""
    while header := _exactly(stream, _HEADER.size, deadline):
        _, length = _HEADER.unpack(header)
        while length:
            part = _some(stream, min(length, _CHUNK), deadline)
            if not part:
                return
            length -= len(part)
            yield part


def _exactly(stream: socket.socket, length: int, deadline: float) -> bytes:
    gathered = b""
    while len(gathered) < length:
        part = _some(stream, length - len(gathered), deadline)
        if not part:
            return b""
        gathered += part
    return gathered


def _some(stream: socket.socket, most: int, deadline: float) -> bytes:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("the command has not ended in time")
    stream.settimeout(left)
    return stream.recv(most)

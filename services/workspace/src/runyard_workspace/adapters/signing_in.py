"""Gives Git a credential for the time of one command, when it asks for it and only for its own host."""

import asyncio
import contextlib
import os
import shlex
import shutil
import socket
import struct
import sys
import tempfile
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from runyard_workspace.adapters import credential_helper
from runyard_workspace.domain.credentials import Credential, NotACredential

ASKED_BYTES = 8 * 1024
SECONDS = 10
_CREDENTIALS = struct.Struct("3i")
"""Process, user and group at the other end of a Unix socket, as Linux tells them."""


@dataclass(frozen=True, slots=True)
class SignIn:
    """What a Git process has to be started with so that it can ask."""

    env: Mapping[str, str] = field(default_factory=dict[str, str])
    settings: Mapping[str, str] = field(default_factory=dict[str, str])


@asynccontextmanager
async def offered(credential: Credential | None) -> AsyncGenerator[SignIn]:
    """A way to ask for the credential, until the end of the block; without one, there is nobody to ask."""
    if credential is None:
        yield SignIn()
        return
    # Not below the workspaces: the path of a socket may only have about a hundred characters.
    folder = await asyncio.to_thread(tempfile.mkdtemp, prefix="runyard-")
    address = str(Path(folder) / "ask")
    server = await asyncio.start_unix_server(lambda r, w: _answer(credential, r, w), address, limit=ASKED_BYTES)
    try:
        yield SignIn({credential_helper.VARIABLE: address}, {"credential.helper": _helper()})
    finally:
        server.close()
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


def _helper() -> str:
    """The helper as Git takes it: a shell command line that it adds the action to."""
    return "!" + shlex.join([sys.executable, "-I", "-S", str(Path(credential_helper.__file__).absolute())])


async def _answer(credential: Credential, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        async with asyncio.timeout(SECONDS):
            asked = (await reader.read(ASKED_BYTES)).decode(errors="replace") if _is_ours(writer) else ""
            pairs = dict(line.split("=", 1) for line in asked.splitlines() if "=" in line)
            if _fits(credential, pairs):
                secret = credential.secret.get_secret_value()
                writer.write(f"username={credential.username}\npassword={secret}\n".encode())
                await writer.drain()
    except (TimeoutError, OSError):
        return
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def _fits(credential: Credential, asked: Mapping[str, str]) -> bool:
    try:
        return credential.fits(asked.get("protocol", ""), asked.get("host", ""))
    except NotACredential:
        return False


def _is_ours(writer: asyncio.StreamWriter) -> bool:
    """Whether the same user is at the other end; the folder's mode keeps others out already."""
    if not hasattr(socket, "SO_PEERCRED"):
        return True
    raw = writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return _CREDENTIALS.unpack(raw)[1] == os.geteuid()

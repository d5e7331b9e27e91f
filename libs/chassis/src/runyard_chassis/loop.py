"""uvloop, but processes are started as the standard library starts them, and their pipes are closed once.

libuv forks: the page tables of the whole process are copied while its event loop stands still. In a stack of one
process that was 9 ms for each `git` and each agent (140 MB resident); `subprocess` uses vfork and takes 0.6 ms.

uvloop closes the descriptor of a pipe, and then the file object that it was given, which closes the same number a
second time. Where a thread has opened a file in between, that file is closed under its hands: one `git` in some
hundreds failed with "Bad file descriptor" where a Docker client's threads were at work.
"""

import asyncio
import os
import subprocess
import threading
from asyncio import unix_events
from collections.abc import Callable
from typing import Any, cast

import uvloop


class Loop(uvloop.Loop):
    """An event loop of uvloop with the subprocess transport of asyncio."""

    async def subprocess_exec(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        protocol_factory: Callable[[], asyncio.SubprocessProtocol],
        program: str | bytes | os.PathLike[str],
        *args: Any,
        stdin: Any = subprocess.PIPE,
        stdout: Any = subprocess.PIPE,
        stderr: Any = subprocess.PIPE,
        **options: Any,
    ) -> tuple[asyncio.SubprocessTransport, asyncio.SubprocessProtocol]:
        """Starts a process; what `asyncio.create_subprocess_exec` calls."""
        for name in ("universal_newlines", "shell", "bufsize", "encoding", "errors", "text"):
            if options.pop(name, None):
                raise ValueError(f"{name} is not for event loops")
        protocol = protocol_factory()
        started = self.create_future()
        transport: Any = cast("Any", unix_events)._UnixSubprocessTransport(  # noqa: SLF001
            self, protocol, (program, *args), False, stdin, stdout, stderr, 0, waiter=started, **options
        )
        self._tell_when_it_ends(transport)
        try:
            await started
        except BaseException:
            transport.close()
            await transport._wait()  # noqa: SLF001
            raise
        return transport, protocol

    async def connect_read_pipe(self, protocol_factory: Callable[[], Any], pipe: Any) -> tuple[Any, Any]:
        """Takes the pipe over: it is closed here, and only the transport has it open."""
        return await super().connect_read_pipe(protocol_factory, _Handed(pipe))

    async def connect_write_pipe(self, protocol_factory: Callable[[], Any], pipe: Any) -> tuple[Any, Any]:
        """As `connect_read_pipe`."""
        return await super().connect_write_pipe(protocol_factory, _Handed(pipe))

    def _tell_when_it_ends(self, transport: Any) -> None:
        process: subprocess.Popen[bytes] = transport._proc  # noqa: SLF001
        try:
            descriptor = os.pidfd_open(process.pid)
        except (OSError, AttributeError):
            threading.Thread(target=self._wait_in_thread, args=(transport, process), daemon=True).start()
        else:
            self.add_reader(descriptor, self._has_ended, descriptor, transport, process)

    def _has_ended(self, descriptor: int, transport: Any, process: "subprocess.Popen[bytes]") -> None:
        self.remove_reader(descriptor)
        os.close(descriptor)
        transport._process_exited(process.wait())  # noqa: SLF001

    def _wait_in_thread(self, transport: Any, process: "subprocess.Popen[bytes]") -> None:
        code = process.wait()
        if not self.is_closed():
            self.call_soon_threadsafe(transport._process_exited, code)  # noqa: SLF001


class _Handed:
    """A file whose descriptor is libuv's to close."""

    def __init__(self, pipe: Any) -> None:
        self._descriptor = os.dup(pipe.fileno())
        pipe.close()

    def fileno(self) -> int:
        """The descriptor that libuv is given."""
        return self._descriptor

    def close(self) -> None:
        """Nothing: libuv has closed it already, and the number may be another file's by now."""


def new_event_loop() -> Loop:
    """The loop that services run on."""
    return Loop()

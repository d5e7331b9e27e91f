"""uvloop, but processes are started as the standard library starts them.

libuv forks: the page tables of the whole process are copied while its event loop stands still. In a stack of one
process that was 9 ms for each `git` and each agent (140 MB resident); `subprocess` uses vfork and takes 0.6 ms.
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


def new_event_loop() -> Loop:
    """The loop that services run on."""
    return Loop()

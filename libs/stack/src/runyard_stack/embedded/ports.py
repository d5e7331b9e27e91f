"""Which TCP ports of this machine are free, and who holds the others."""

import errno
import socket

import psutil

from runyard_stack.embedded.errors import PortTaken

LOOPBACK = "127.0.0.1"


def free_port() -> int:
    """A loopback port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def is_free(port: int, host: str = LOOPBACK) -> bool:
    """Whether a server could listen on the port; sockets in TIME_WAIT do not count as taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            raise
    return True


def holder(port: int) -> str | None:
    """The process that listens on the port, as `name (pid N)`, when this user may see it."""
    try:
        connections = psutil.net_connections(kind="tcp")
    except (psutil.AccessDenied, OSError):
        return None
    for connection in connections:
        taken = connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port
        if taken and connection.pid:
            try:
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
            except psutil.Error:
                return f"pid {connection.pid}"
    return None


def require_free(port: int, purpose: str) -> None:
    """Raise `PortTaken` unless the port can be listened on."""
    if is_free(port):
        return
    by = holder(port)
    raise PortTaken(
        f"Port {port}, wanted for {purpose}, is taken" + (f" by {by}." if by else " by another process."),
        "Stop that process, or move all ports of this stack together: RUNYARD_PORT_BASE=9300.",
    )

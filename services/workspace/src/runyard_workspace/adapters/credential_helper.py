"""Git's credential helper: asks the service that has started Git, over the socket named in the environment.

Started by Git as a program of its own, with nothing but the standard library. The secret goes from the socket to
Git's pipe; it never is an argument, a variable or a file.
Protocol: https://git-scm.com/docs/git-credential#IOFMT
"""

import os
import socket
import sys

VARIABLE = "RUNYARD_CREDENTIAL_SOCKET"
LIMIT = 16 * 1024


def main() -> int:
    """Answers `get`; keeps and forgets nothing, so `store` and `erase` are nothing to it."""
    asked = sys.stdin.buffer.read(LIMIT)
    address = os.environ.get(VARIABLE)
    if sys.argv[-1] != "get" or not address:
        return 0
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(10)
        connection.connect(address)
        connection.sendall(asked)
        connection.shutdown(socket.SHUT_WR)
        while answer := connection.recv(LIMIT):
            sys.stdout.buffer.write(answer)
    return 0


if __name__ == "__main__":
    sys.exit(main())

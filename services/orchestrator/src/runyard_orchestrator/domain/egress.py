"""Whether a container may reach a host. Pure."""

from collections.abc import Iterable
from ipaddress import ip_address

USUAL_PORTS = frozenset({80, 443})
_HIGHEST_PORT = 65535


def allows(allowed: Iterable[str], host: str, port: int) -> bool:
    """Whether one of the entries opens this host and port.

    An entry is `host`, `*.host` (everything below it, not itself) or either with `:port`; without a port it
    opens 80 and 443. Addresses are allowed only where they stand in the list themselves.
    """
    name = _plain(host)
    if not name or not 0 < port <= _HIGHEST_PORT:
        return False
    return any(_opens(entry, name, port) for entry in allowed)


def _opens(entry: str, name: str, port: int) -> bool:
    pattern, separator, wanted = entry.strip().rpartition(":")
    if not separator or not wanted.isdigit() or (":" in pattern and not pattern.startswith("[")):
        pattern, wanted = entry.strip(), ""  # no port, or an address of IPv6 without brackets
    if port not in ({int(wanted)} if wanted else USUAL_PORTS):
        return False
    pattern = _plain(pattern)
    if pattern.startswith("*."):
        return not _is_address(name) and name.endswith(pattern[1:]) and len(name) > len(pattern) - 1
    return name == pattern


def _plain(host: str) -> str:
    return host.strip().lower().removeprefix("[").removesuffix("]").rstrip(".")


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True

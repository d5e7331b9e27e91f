"""Which addresses the proxy may connect to for a sandbox, whatever a name leads to."""

import asyncio
import socket
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

from runyard_sandbox.proxy.config import Network

_RESOLVE_SECONDS = 5.0
_METADATA = frozenset({ip_address("168.63.129.16"), ip_address("100.100.100.200"), ip_address("fd00:ec2::254")})
"""Metadata services of clouds that are not on a link-local address."""
_NAT64 = IPv6Network("64:ff9b::/96")
_SHARED = ip_network("100.64.0.0/10")

Address = IPv4Address | IPv6Address


class Forbidden(Exception):
    """The name leads only to addresses that no sandbox may reach."""


class NoSuchHost(Exception):
    """The name leads nowhere."""


def may_reach(address: Address, *, private: Sequence[Network], never: Sequence[Network]) -> bool:
    """Public addresses, and those of `private`; `never` wins."""
    address = _inner(address)
    if address in _METADATA or any(address in network for network in never):
        return False
    if address.is_loopback or address.is_link_local or address.is_multicast or address.is_unspecified:
        return False
    if any(address in network for network in private):
        return True
    return address.is_global and not address.is_reserved and address not in _SHARED


def _inner(address: Address) -> Address:
    """The IPv4 address that an IPv6 one stands for, where it does."""
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1] or address


async def resolve(host: str, port: int, *, private: Sequence[Network], never: Sequence[Network]) -> list[str]:
    """The addresses of a name that may be reached. Connect to one of these, not to the name: it may change.

    Raises:
        NoSuchHost, Forbidden
    """
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(_RESOLVE_SECONDS):
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise NoSuchHost(host) from error
    addresses = list(dict.fromkeys(str(sockaddr[0]).partition("%")[0] for *_, sockaddr in found))
    good = [each for each in addresses if may_reach(ip_address(each), private=private, never=never)]
    if not good:
        raise Forbidden(host)
    return good

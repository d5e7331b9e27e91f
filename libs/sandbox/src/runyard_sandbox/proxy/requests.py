"""The head of a request to a proxy: where it wants to go, and what is passed on of it."""

import base64
import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit

LONGEST_HEAD = 32 * 1024
HEAD_END = b"\r\n\r\n"

_HOST = re.compile(r"[a-z0-9_]([a-z0-9_.-]{0,251}[a-z0-9_])?")
_ADDRESS_V6 = re.compile(r"[0-9a-f:.]{2,45}")
_METHOD = re.compile(r"[A-Z]{1,20}")
_HOPS = frozenset({"connection", "proxy-connection", "proxy-authorization", "keep-alive", "host", "te", "upgrade"})
_PASS = re.compile(r"[A-Za-z0-9._~-]{1,4096}")
_HIGHEST_PORT = 65535
_HTTP = 80


class Malformed(Exception):
    """Not a request that a proxy takes."""


@dataclass(frozen=True, slots=True)
class Head:
    """Where to, and what the other side is sent first (nothing for a tunnel)."""

    host: str
    port: int
    tunnel: bool
    first: bytes = b""
    shown: str | None = field(default=None, repr=False)
    """The password that came with it (`Proxy-Authorization: Basic`); the name before it means nothing."""


def parse(data: bytes) -> Head:
    """From the bytes up to the empty line."""
    try:
        request, *lines = data.removesuffix(HEAD_END).decode("ascii").split("\r\n")
        method, target, version = request.split(" ")
    except (UnicodeDecodeError, ValueError):
        raise Malformed("the head of the request cannot be read") from None
    if not _METHOD.fullmatch(method) or version not in {"HTTP/1.1", "HTTP/1.0"}:
        raise Malformed("the request line cannot be read")
    if method == "CONNECT":
        host, port = _authority(target)
        if port is None:
            raise Malformed("CONNECT needs a port")
        return Head(host, port, tunnel=True, shown=_shown(lines))
    return _plain(method, target, lines)


def _plain(method: str, target: str, lines: list[str]) -> Head:
    """One request over a connection of its own; its Host is the one that was asked about, whatever it says."""
    try:
        url = urlsplit(target)
    except ValueError:
        raise Malformed("the address cannot be read") from None
    if url.scheme != "http" or not url.netloc or "@" in url.netloc:
        raise Malformed("a proxy takes http:// addresses and CONNECT")
    host, port = _authority(url.netloc)
    path = (url.path or "/") + (f"?{url.query}" if url.query else "")
    kept = [line for line in lines if _name(line) not in _HOPS]
    authority = url.netloc.lower()
    first = [f"{method} {path} HTTP/1.1", f"Host: {authority}", "Connection: close", *kept, "", ""]
    return Head(host, port or _HTTP, tunnel=False, first="\r\n".join(first).encode("ascii"), shown=_shown(lines))


def _shown(lines: list[str]) -> str | None:
    for line in lines:
        name, _, value = line.partition(":")
        scheme, _, encoded = value.strip().partition(" ")
        if name.lower() != "proxy-authorization" or scheme.lower() != "basic":
            continue
        try:
            _, _, password = base64.b64decode(encoded, validate=True).decode("ascii").partition(":")
        except ValueError:
            raise Malformed("the credential cannot be read") from None
        # It is passed on in a header: nothing that could end one may be in it.
        if not _PASS.fullmatch(password):
            raise Malformed("the credential cannot be read")
        return password
    return None


def _name(line: str) -> str:
    name, colon, _ = line.partition(":")
    if not colon or not name or name != name.strip() or "\n" in line or "\r" in line:
        raise Malformed("a header cannot be read")
    return name.lower()


def _authority(text: str) -> tuple[str, int | None]:
    """`host`, `host:port` or `[address]:port`, in small letters, without the dot at the end."""
    if text.startswith("["):
        host, bracket, rest = text[1:].lower().partition("]")
        if not bracket or not _ADDRESS_V6.fullmatch(host) or (rest and not rest.startswith(":")):
            raise Malformed("the host cannot be read")
        return host, _port(rest[1:]) if rest else None
    host, colon, port = text.lower().partition(":")
    host = host.removesuffix(".")
    if not _HOST.fullmatch(host):
        raise Malformed("the host cannot be read")
    return host, _port(port) if colon else None


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text[:6]) <= _HIGHEST_PORT:
        raise Malformed("the port cannot be read")
    return int(text)

"""Headers between a browser and a preview's server, which believes to be asked at `localhost:<port>`."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

from runyard_gateway.previews import cookies
from runyard_gateway.previews.passes import is_platform_token

Raw = Iterable[tuple[bytes, bytes]]
_HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_REPLACED = frozenset({"host", "cookie", "origin", "referer", "forwarded", "x-real-ip", "x-request-id"})
_FORWARDED = "x-forwarded-"
_WEBSOCKET = "sec-websocket-"
_NOT_BACK = frozenset(
    {
        "alt-svc",  # would lead the browser past the proxy
        "clear-site-data",  # would sign the user out of the whole domain
        "x-frame-options",  # the console shows previews in a frame
        "set-cookie",
        "location",
    }
)


@dataclass(frozen=True, slots=True)
class Visit:
    """One request as it came: `host` as the browser named it, `scheme` as it is seen from outside."""

    host: str
    scheme: str
    client: str
    port: int
    """The one of the preview's server."""

    @property
    def upstream_host(self) -> str:
        """What the preview's server is asked as."""
        return f"localhost:{self.port}"


def text_headers(raw: Raw) -> dict[str, str]:
    """The headers by their names in small letters, several of one name joined as HTTP has it."""
    found: dict[str, str] = {}
    for name, value in raw:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        glue = "; " if key == "cookie" else ", "
        found[key] = f"{found[key]}{glue}{text}" if key in found else text
    return found


def request_headers(raw: Raw, visit: Visit) -> list[tuple[str, str]]:
    """What the preview's server gets to see of a request's headers."""
    raw = list(raw)
    sent = text_headers(raw)
    dropped = _HOP_BY_HOP | _REPLACED | _named_in(sent.get("connection", ""))
    headers = [
        (name.decode("latin-1"), value.decode("latin-1"))
        for name, value in raw
        if _goes_on(name.decode("latin-1").lower(), value.decode("latin-1"), dropped)
    ]
    headers += [
        ("Host", visit.upstream_host),
        ("X-Forwarded-For", visit.client),
        ("X-Forwarded-Proto", visit.scheme),
    ]
    if kept := cookies.for_preview(sent.get("cookie", "")):
        headers.append(("Cookie", kept))
    headers += _whence(sent, visit)
    return headers


def response_headers(raw: Raw, visit: Visit) -> list[tuple[bytes, bytes]]:
    """What the browser gets to see of an answer's headers."""
    raw = list(raw)
    dropped = _HOP_BY_HOP | _NOT_BACK | _named_in(text_headers(raw).get("connection", ""))
    headers = [(name.lower(), value) for name, value in raw if name.decode("latin-1").lower() not in dropped]
    for name, value in raw:
        match name.lower():
            case b"set-cookie":
                kept = cookies.from_preview(value.decode("latin-1"))
                if kept is not None:
                    headers.append((b"set-cookie", kept.encode("latin-1")))
            case b"location":
                headers.append((b"location", _outside(value.decode("latin-1"), visit).encode("latin-1")))
            case _:
                pass
    headers.append((b"x-robots-tag", b"noindex"))
    return headers


def is_own_origin(origin: str, host: str) -> bool:
    """Whether an `Origin` header is the preview's own page."""
    try:
        return urlsplit(origin).netloc.lower() == host.lower()
    except ValueError:
        return False


def is_foreign(sent: Mapping[str, str], host: str, *, safe: bool) -> bool:
    """Whether a request is made by another site's page on behalf of the user, other than by leading here.

    The cookie goes along with such requests, and what a preview answers may be nobody else's business:
    neither another site's nor another preview's.
    """
    origin = sent.get("origin")
    if origin is not None and not safe and not is_own_origin(origin, host):
        return True
    site, mode = sent.get("sec-fetch-site", ""), sent.get("sec-fetch-mode", "")
    return site in ("cross-site", "same-site") and mode != "navigate"


def _goes_on(name: str, value: str, dropped: frozenset[str]) -> bool:
    if name in dropped or name.startswith((_FORWARDED, _WEBSOCKET)):
        return False
    return not (name == "authorization" and is_platform_token(value))


def _named_in(connection: str) -> frozenset[str]:
    return frozenset(name.strip().lower() for name in connection.split(",") if name.strip())


def _whence(sent: Mapping[str, str], visit: Visit) -> list[tuple[str, str]]:
    """`Origin` and `Referer` as if the page had come from the preview's server itself.

    Frameworks compare them with `Host` before they take a form; some take `X-Forwarded-Host` instead where there
    is one, so that is only sent where there is no origin to compare.
    """
    found: list[tuple[str, str]] = []
    origin, referer = sent.get("origin"), sent.get("referer")
    if origin is not None:
        inside = f"http://{visit.upstream_host}" if is_own_origin(origin, visit.host) else origin
        found.append(("Origin", inside))
    else:
        found.append(("X-Forwarded-Host", visit.host))
    if referer is not None:
        found.append(("Referer", _moved(referer, visit.host, "http", visit.upstream_host)))
    return found


def _outside(location: str, visit: Visit) -> str:
    """A redirect as the browser has to follow it."""
    for inside in (visit.upstream_host, f"127.0.0.1:{visit.port}", f"0.0.0.0:{visit.port}"):
        moved = _moved(location, inside, visit.scheme, visit.host)
        if moved != location:
            return moved
    return location


def _moved(url: str, host: str, scheme: str, target: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        return url
    if parts.netloc.lower() != host.lower():
        return url
    return urlunsplit(parts._replace(scheme=scheme if parts.scheme else "", netloc=target))

"""Cookies between a browser and a preview: the platform's stay out of it, in both directions."""

_PREFIXES = ("__host-", "__secure-")
_PLATFORM = "runyard"
_BARE = "runyard-preview"


def pass_name(*, secure: bool) -> str:
    """The name of the pass's cookie. With the prefix no other host, nor a page's script, can plant one."""
    return f"__Host-{_BARE}" if secure else _BARE


def pass_header(value: str, *, secure: bool, max_age: int) -> str:
    """The `Set-Cookie` of a pass: for this host alone, out of reach of scripts."""
    parts = [f"{pass_name(secure=secure)}={value}", "Path=/", "HttpOnly", f"Max-Age={max_age}"]
    # In a frame of the console the preview is a third party: its cookie is kept apart for each page that frames it.
    parts += ["Secure", "SameSite=None", "Partitioned"] if secure else ["SameSite=Lax"]
    return "; ".join(parts)


def passes_in(header: str, *, secure: bool) -> list[str]:
    """The passes that a `Cookie` header brings, at most a few."""
    name = pass_name(secure=secure)
    return [value for found, value in _pairs(header) if found == name][:4]


def for_preview(header: str) -> str:
    """A `Cookie` header without what belongs to the platform."""
    return "; ".join(f"{name}={value}" for name, value in _pairs(header) if not _is_platform(name))


def from_preview(header: str) -> str | None:
    """A `Set-Cookie` header as the browser may have it: for this host alone; None: not at all."""
    first, *attributes = header.split(";")
    name = first.partition("=")[0].strip() if "=" in first else ""
    if not name or _is_platform(name):
        return None
    kept = [part for part in attributes if part.partition("=")[0].strip().lower() != "domain"]
    return ";".join([first, *kept])


def _is_platform(name: str) -> bool:
    lowered = name.strip().lower()
    for prefix in _PREFIXES:
        lowered = lowered.removeprefix(prefix)
    return lowered.startswith(_PLATFORM)


def _pairs(header: str) -> list[tuple[str, str]]:
    pairs = (part.partition("=") for part in header.split(";"))
    return [(name.strip(), value.strip()) for name, equals, value in pairs if equals or name.strip()]

"""Where previews are found: `<preview>.<domain>`."""

import re
from dataclasses import dataclass

_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
RESERVED = "/__runyard/"
"""Paths below this belong to the platform on a preview's subdomain, too."""
OPEN_PATH = f"{RESERVED}open"
SHARE_PATH = f"{RESERVED}share"
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class PreviewAddresses:
    """The public addresses of previews. `port` None: the scheme's own."""

    domain: str
    scheme: str
    port: int | None

    def preview_of(self, host: str) -> str | None:
        """The preview that a `Host` header names; empty: the domain is ours but the name is none; None: not ours."""
        name = host.lower().rstrip(".").rpartition(":")[0] if _has_port(host) else host.lower().rstrip(".")
        if name == self.domain:
            return ""
        label, dot, domain = name.partition(".")
        if not dot or not name.endswith(f".{self.domain}"):
            return None
        return label if domain == self.domain and _LABEL.fullmatch(label) else ""

    def origin(self, preview_id: str) -> str:
        """Where a preview's page is."""
        standard = self.port is None or self.port == _DEFAULT_PORTS[self.scheme]
        return f"{self.scheme}://{preview_id}.{self.domain}{'' if standard else f':{self.port}'}"

    @property
    def is_secure(self) -> bool:
        """Whether browsers keep secrets for these addresses: encrypted, or this very machine."""
        return self.scheme == "https" or self.domain == "localhost" or self.domain.endswith(".localhost")


def _has_port(host: str) -> bool:
    _, colon, port = host.rpartition(":")
    return bool(colon) and port.isdigit()

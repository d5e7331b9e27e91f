"""The environment an agent is given: a short list of names, never the runner's own."""

from collections.abc import Mapping
from pathlib import Path

PASSED_ON = (
    "PATH",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TERM",
    "TZ",
    "TMPDIR",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "NIX_SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "PIP_CERT",
)
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
"""The way out of a container; outside of one they are this machine's own affair, and may hold its passwords."""


def agent_environment(source: Mapping[str, str], home: Path) -> dict[str, str]:
    """What of `source` an agent may see, with HOME set to its own folder; in a container also the way out of it."""
    ways = [*PROXIES, *(name.lower() for name in PROXIES)] if source.get("SESSION_TOKEN") else []
    kept = {name: source[name] for name in (*PASSED_ON, *ways) if name in source}
    return {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", **kept, "HOME": str(home)}

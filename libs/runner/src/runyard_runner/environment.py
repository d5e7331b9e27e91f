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
)


def agent_environment(source: Mapping[str, str], home: Path) -> dict[str, str]:
    """What of `source` an agent may see, with HOME set to its own folder."""
    kept = {name: source[name] for name in PASSED_ON if name in source}
    return {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", **kept, "HOME": str(home)}

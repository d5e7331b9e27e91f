"""Where this machine's package tools get packages from, for containers that shall have them from there too."""

import json
import socket
import subprocess
from urllib.parse import urlsplit

CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
_PIP = "from pip._internal.models.index import PyPI as i; print(i.simple_url, 'https://' + i.file_storage_domain)"
"""The addresses that pip itself has; those that are configured come on top."""


def npm() -> str:
    """npm's registry."""
    return _said("npm", "config", "get", "registry")


def pip() -> list[str]:
    """pip's index, and where it has its files."""
    own = _said("python3", "-m", "pip", "config", "get", "global.index-url", check=False)
    return [own] if own else _said("python3", "-c", _PIP).split()


def settings(*addresses: str) -> dict[str, str]:
    """A stack's settings with which its containers use these."""
    hosts = sorted({urlsplit(one).hostname or "" for one in addresses})
    told = {"npm_config_registry": npm(), "NODE_EXTRA_CA_CERTS": CERTIFICATES}
    return {
        "SANDBOX_EGRESS": " ".join(hosts),
        # A mirror of the house may have an address that is nobody's in public.
        "SANDBOX_PRIVATE_NETWORKS": " ".join(
            sorted({str(one[4][0]) for host in hosts for one in socket.getaddrinfo(host, 443)})
        ),
        "PREVIEW_ENVIRONMENT": json.dumps(told),
    }


def _said(*argv: str, check: bool = True) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=check).stdout.strip()

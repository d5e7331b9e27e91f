"""What a team signs in with at its hosts: which credential is for which address, and what one may be."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from pydantic import SecretStr

from runyard_events import Envelope
from runyard_events.catalogue import CredentialRemoved, CredentialSet
from runyard_workspace.domain.paths import has_control_characters

MAX_SECRET = 4096
MAX_NAME = 200
DEFAULT_PORTS = {"https": 443, "http": 80}
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_HOST = re.compile(r"(?P<name>[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:]+\])(:(?P<port>\d{1,5}))?")


class NotACredential(ValueError):
    """What was given cannot be used to sign in; the text says why."""


@dataclass(frozen=True, slots=True)
class Credential:
    """A name and a secret for one host, opened for one use. It shows itself to nobody."""

    host: str
    username: str
    secret: SecretStr = field(repr=False)

    def fits(self, scheme: str, host: str) -> bool:
        """Whether it is for this host, and the way there is one on which it may be sent."""
        name = parse_host(host, scheme)
        plain = scheme == "http" and _name_of(name) in LOOPBACK
        return (scheme == "https" or plain) and name == parse_host(self.host, scheme)

    def clean(self, text: str) -> str:
        """A text without the secret, should somebody else have put it in."""
        return text.replace(self.secret.get_secret_value(), "[redacted]")


def parse_host(text: str, scheme: str = "https") -> str:
    """A host, and its port where that is not the usual one, in one spelling.

    Raises:
        NotACredential: it is no host.
    """
    match = _HOST.fullmatch(text.strip())
    if match is None or int(match["port"] or 1) not in range(1, 65536):
        raise NotACredential("The host is a name like github.com, with a port where it is not the usual one.")
    name, port = str(match["name"]).lower(), int(match["port"] or 0)
    return f"{name}:{port}" if port and port != DEFAULT_PORTS.get(scheme) else name


def check_parts(username: str, secret: str) -> None:
    """Whether a name and a secret can be given to Git.

    Raises:
        NotACredential: they cannot.
    """
    if not username or len(username) > MAX_NAME or has_control_characters(username):
        raise NotACredential("The user name is empty, too long, or contains control characters.")
    if not secret or len(secret) > MAX_SECRET or has_control_characters(secret):
        raise NotACredential("The secret is empty, too long, or contains control characters.")


def standing(events: Iterable[Envelope]) -> dict[str, CredentialSet]:
    """The credentials of a team by their ids, those set last at the end."""
    found: dict[str, CredentialSet] = {}
    for event in events:
        match event.payload:
            case CredentialSet() as given:
                found.pop(given.credential_id, None)
                found[given.credential_id] = given
            case CredentialRemoved() as removed:
                found.pop(removed.credential_id, None)
            case _:
                pass
    return found


def credential_for(url: str, credentials: Iterable[CredentialSet]) -> CredentialSet | None:
    """The credential for an address: of those for its host, the one that was set last."""
    try:
        parts = urlsplit(url)
        if parts.scheme.lower() not in DEFAULT_PORTS:
            return None
        host = parse_host(parts.netloc.rpartition("@")[2], parts.scheme.lower())
    except ValueError:
        return None
    fitting = [one for one in credentials if parse_host(one.host, parts.scheme.lower()) == host]
    return fitting[-1] if fitting else None


def _name_of(host: str) -> str:
    return host.rpartition("]")[0].lstrip("[") if host.startswith("[") else host.partition(":")[0]

"""Where a repository may be taken from: the check of what a person typed before Git ever sees it."""

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal
from urllib.parse import SplitResult, unquote, urlsplit

from runyard_events.catalogue import ImportFailure
from runyard_workspace.domain.paths import has_control_characters

MAX_URI = 2048
REMOTE_SCHEMES = ("https", "http", "ssh", "git")
GITHUB = "https://github.com"

_SHORTHAND = re.compile(r"(?P<owner>[A-Za-z0-9][\w.-]*)/(?P<repo>[A-Za-z0-9_][\w.-]*)")
_SCP = re.compile(r"(?:[A-Za-z0-9_][\w.-]*@)?[A-Za-z0-9][A-Za-z0-9.-]*:(?P<path>[^-:/].*|/.*)")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|[0-9A-Fa-f:.]+")
_USER = re.compile(r"[A-Za-z0-9_][\w.-]*")


class Refused(Exception):
    """The source is not taken; `reason` is the public one, the text says what to change."""

    def __init__(self, reason: ImportFailure, message: str) -> None:
        super().__init__(message)
        self.reason: ImportFailure = reason
        self.message = message


@dataclass(frozen=True, slots=True)
class RemoteSource:
    """A repository behind a URL that may be given to Git as it is."""

    url: str
    display_name: str


@dataclass(frozen=True, slots=True)
class LocalSource:
    """A repository on this machine's disk."""

    path: Path
    display_name: str


Source = RemoteSource | LocalSource


def parse_source(
    source_type: Literal["github", "git", "local"],
    source_uri: str,
    *,
    schemes: tuple[str, ...] = REMOTE_SCHEMES,
) -> Source:
    """Decides what a source is.

    Raises:
        Refused: it names something that must not be given to Git, or that holds a credential.
    """
    text = source_uri.strip()
    if not text:
        raise Refused("refused_url", "The address of the repository is empty.")
    if len(text) > MAX_URI:
        raise Refused("refused_url", f"The address is longer than {MAX_URI} characters.")
    if has_control_characters(text):
        raise Refused("refused_url", "The address contains control characters.")
    if text.startswith("-"):
        raise Refused("refused_url", "An address cannot start with a dash.")
    return _local(text) if source_type == "local" else _remote(text, schemes)


def _local(text: str) -> LocalSource:
    if text.startswith("file://"):
        parts = urlsplit(text)
        if parts.netloc not in ("", "localhost"):
            raise Refused("refused_url", "A file:// address can only name this machine.")
        text = unquote(parts.path)
        if has_control_characters(text):
            raise Refused("refused_url", "The address contains control characters.")
    path = PurePosixPath(text)
    if not path.is_absolute():
        raise Refused("refused_url", "A local repository is named by its absolute path.")
    if ".." in path.parts:
        raise Refused("refused_url", "The path of a local repository cannot contain '..'.")
    return LocalSource(Path(path), _last_two(str(path)))


def _remote(text: str, schemes: tuple[str, ...]) -> RemoteSource:
    if " " in text:
        raise Refused("refused_url", "The address contains a space.")
    if "::" in text.partition("/")[0] or re.match(r"[A-Za-z0-9]+::", text):
        raise Refused("refused_url", "Addresses of the form 'helper::address' are not accepted.")
    if "://" in text:
        return _url(text, schemes)
    if shorthand := _SHORTHAND.fullmatch(text):
        name = text.removesuffix(".git")
        return RemoteSource(f"{GITHUB}/{shorthand['owner']}/{shorthand['repo']}", name)
    if scp := _SCP.fullmatch(text):
        if "ssh" not in schemes:
            raise Refused("refused_url", "SSH addresses are not accepted here.")
        return RemoteSource(text, _last_two(scp["path"]))
    raise Refused(
        "refused_url",
        "This is not the address of a repository. Use https://host/owner/repo, git@host:owner/repo, or "
        "owner/repo for GitHub; for a folder of this machine use source_type 'local'.",
    )


def _url(text: str, schemes: tuple[str, ...]) -> RemoteSource:
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError as error:
        raise Refused("refused_url", f"The address cannot be read: {error}.") from error
    scheme = parts.scheme.lower()
    if scheme not in schemes:
        allowed = ", ".join(schemes)
        hint = " For a folder of this machine use source_type 'local'." if scheme == "file" else ""
        raise Refused("refused_url", f"Only these kinds of address are accepted: {allowed}.{hint}")
    _refuse_credentials(parts, scheme)
    host = parts.hostname or ""
    if not _HOST.fullmatch(host):
        raise Refused("refused_url", "The address has no usable host name.")
    if not parts.path.strip("/"):
        raise Refused("refused_url", "The address names a host but no repository.")
    if parts.path.lstrip("/").startswith("-"):
        raise Refused("refused_url", "The path of a repository cannot start with a dash.")
    return RemoteSource(text, _last_two(parts.path))


def _refuse_credentials(parts: SplitResult, scheme: str) -> None:
    """An address is kept in the log for ever and shown to the whole team: no secret may be part of it."""
    user_allowed = scheme == "ssh" and parts.username is not None and _USER.fullmatch(parts.username)
    if parts.password is not None or (parts.username is not None and not user_allowed):
        raise Refused("refused_url", "The address contains a user name or password; take it out.")
    if parts.query or parts.fragment:
        raise Refused("refused_url", "The address has a query or fragment; take it out.")


def _last_two(path: str) -> str:
    parts = [part for part in path.split("/") if part]
    name = "/".join(parts[-2:]).removesuffix(".git").rstrip("/")
    return name or path

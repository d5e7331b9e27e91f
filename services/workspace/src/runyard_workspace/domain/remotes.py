"""The remote of a workspace: its address, what a push to it came to, and why talking to it failed."""

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from runyard_events.catalogue import SyncFailure
from runyard_workspace.domain.failures import last_words
from runyard_workspace.domain.sources import LocalSource, Source

_SIGNS: tuple[tuple[SyncFailure, tuple[str, ...]], ...] = (
    ("timeout", (r"operation too slow", r"timed out", r"timeout was reached")),
    (
        "auth_required",
        (
            r"terminal prompts disabled",
            r"could not read (username|password)",
            r"authentication failed",
            r"returned error: 40[137]",
            r"permission denied",
            r"access denied",
            r"host key verification failed",
        ),
    ),
    (
        "unreachable",
        (
            r"could not resolve",
            r"name or service not known",
            r"unable to look up",
            r"connection (refused|reset|timed out)",
            r"failed to connect",
            r"couldn't connect",
            r"no route to host",
            r"network is unreachable",
            r"unable to connect",
            r"returned error: 5\d\d",
            r"empty reply",
            r"ssl|certificate",
        ),
    ),
    ("not_found", (r"not found", r"returned error: 4(04|10)", r"does not exist", r"does not appear to be")),
)

SENTENCES: dict[SyncFailure, str] = {
    "auth_required": "The remote asked for a sign-in, or does not let this one in. Store a credential for its host.",
    "not_found": "There is no repository at the remote's address any more.",
    "conflict": "The remote's branch has commits that the session does not have; nothing was pushed.",
    "rejected": "The remote does not take it.",
    "timeout": "The remote did not answer in time.",
    "unreachable": "The remote cannot be reached.",
    "nothing_to_push": "The session has changed nothing.",
    "failed": "Git could not do it.",
}
_GITHUB = re.compile(r"/(?P<owner>[\w.-]+)/(?P<name>[\w.-]+?)(?:\.git)?/?")
_REFUSED = re.compile(r"!\t[^\t]*\t\[(?P<who>remote rejected|rejected)\](?: \((?P<why>.*)\))?")
_RACED = re.compile(r"cannot lock ref|failed to update ref|incorrect old value|reference already exists")


class SyncFailed(Exception):
    """The remote could not be talked to, or refused. `files`: those that both sides have changed."""

    def __init__(self, reason: SyncFailure, detail: str = "", *, files: tuple[str, ...] = ()) -> None:
        sentence = SENTENCES[reason]
        self.message = f"{sentence} ({detail})" if detail else sentence
        super().__init__(self.message)
        self.reason: SyncFailure = reason
        self.files = files


@dataclass(frozen=True, slots=True)
class GitHubRepository:
    """A repository by the host and the name that GitHub's API knows it by."""

    host: str
    owner: str
    name: str


def address_of(source: Source) -> str:
    """The address as Git takes it."""
    return str(source.path) if isinstance(source, LocalSource) else source.url


def github_repository(source: Source) -> GitHubRepository | None:
    """The repository behind an address, if it has the shape of one on GitHub (also over SSH)."""
    if isinstance(source, LocalSource):
        return None
    url = source.url
    if "://" not in url:
        url = "ssh://" + url.replace(":", "/", 1)
    parts = urlsplit(url)
    match = _GITHUB.fullmatch(parts.path)
    if match is None or not parts.hostname:
        return None
    port = f":{parts.port}" if parts.port and parts.scheme in ("http", "https") else ""
    return GitHubRepository(parts.hostname + port, match["owner"], match["name"])


def sync_failure(stderr: str) -> SyncFailed:
    """Why Git gave up, told from what it wrote."""
    lowered = stderr.lower()
    for reason, patterns in _SIGNS:
        if any(re.search(pattern, lowered) for pattern in patterns):
            return SyncFailed(reason, last_words(stderr))
    return SyncFailed("failed", last_words(stderr))


PushOutcome = Literal["pushed", "up_to_date", "conflict"]


def push_outcome(porcelain: str) -> PushOutcome | SyncFailed | None:
    """Reads `git push --porcelain` of one branch; None when it got to no branch."""
    for line in porcelain.splitlines():
        if line.startswith("="):
            return "up_to_date"
        if line.startswith((" ", "*", "+")) and "\t" in line:
            return "pushed"
        if match := _REFUSED.match(line):
            why = match["why"] or ""
            raced = match["who"] == "remote rejected" and _RACED.search(why)
            return "conflict" if match["who"] == "rejected" or raced else SyncFailed("rejected", why)
    return None

"""Why a clone failed, told from what Git wrote: one public reason and one sentence that says what to do."""

import re
from dataclasses import dataclass

from runyard_events.catalogue import ImportFailure

MAX_DETAIL = 300


@dataclass(frozen=True, slots=True)
class Failure:
    """What becomes of an import that did not work."""

    reason: ImportFailure
    message: str


_FULL = (r"no space left on device", r"disk quota exceeded")

# The first pattern that fits decides: the specific ones stand before the general ones.
_SIGNS: tuple[tuple[ImportFailure, tuple[str, ...]], ...] = (
    ("disk_full", _FULL),
    ("timeout", (r"operation too slow", r"timed out", r"timeout was reached")),
    (
        "auth_required",
        (
            r"terminal prompts disabled",
            r"could not read (username|password)",
            r"authentication failed",
            r"returned error: 40[137]",
            r"permission denied \(",
            r"host key verification failed",
        ),
    ),
    (
        "not_a_repository",
        (r"is this a git repository\?", r"does not appear to be a git repository", r"bad line length"),
    ),
    ("refused_url", (r"transport '.*' not allowed", r"strange (hostname|port|pathname)")),
    (
        "not_found",
        (
            r"repository .*not found",
            r"returned error: 4(04|10)",
            r"could not resolve host",
            r"name or service not known",
            r"unable to look up",
            r"connection refused",
            r"failed to connect",
            r"couldn't connect",
            r"no route to host",
            r"network is unreachable",
            r"unable to connect",
            r"does not exist",
            r"repository not exported",
        ),
    ),
)

_SENTENCES: dict[ImportFailure, str] = {
    "not_found": "There is no repository at this address, or its host cannot be reached.",
    "auth_required": "The repository is private or does not exist: it asked for a sign-in.",
    "empty": "The repository has no commit yet. Commit something to it first.",
    "too_large": "The repository is larger than this installation allows.",
    "timeout": "The repository did not arrive in time.",
    "not_a_repository": "There is something at this address, but it is not a Git repository.",
    "refused_url": "This address is not accepted.",
    "disk_full": "The disk of the workspace service is full.",
    "failed": "Git could not clone the repository.",
}

_ABSOLUTE = re.compile(r"'/[^']*'")


def failure(reason: ImportFailure, detail: str = "") -> Failure:
    """The failure for a reason, with Git's own words after the sentence where there are some."""
    sentence = _SENTENCES[reason]
    return Failure(reason, f"{sentence} ({detail})" if detail else sentence)


def classify(stderr: str) -> Failure:
    """The failure behind what Git wrote before it gave up."""
    lowered = stderr.lower()
    for reason, patterns in _SIGNS:
        if any(re.search(pattern, lowered) for pattern in patterns):
            return failure(reason, last_words(stderr))
    return failure("failed", last_words(stderr))


def says_full(stderr: str) -> bool:
    """Whether Git says that the disk is full."""
    return any(re.search(pattern, stderr.lower()) for pattern in _FULL)


def last_words(stderr: str) -> str:
    """Git's `fatal:` or `error:` line, without the paths of this machine: they say nothing to the asker."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    said = ""
    for start in ("fatal:", "error:", "remote:", ""):
        said = next((line for line in lines if line.lower().startswith(start)), "")
        if said:
            break
    return _ABSOLUTE.sub("…", said)[:MAX_DETAIL]

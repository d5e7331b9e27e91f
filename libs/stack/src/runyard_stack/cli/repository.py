"""What a person means by `--repo`: an address, or a folder of this machine."""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from runyard_stack.errors import StackError

_ADDRESS = re.compile(r"^(?:[a-z][a-z0-9+.-]*://|[\w.-]+@[\w.-]+:)", re.IGNORECASE)
GITHUB = re.compile(r"(?:^|[/@])github\.com[/:]", re.IGNORECASE)
_SHORT = re.compile(r"^[\w.-]+/[\w.-]+$")


@dataclass(frozen=True)
class Repository:
    """A repository to import."""

    source_type: Literal["github", "git", "local"]
    source_uri: str
    head: str | None = None
    changed: bool = False


def repository(text: str) -> Repository:
    """The repository behind a URL, `org/repo` of GitHub, or a path.

    Raises:
        StackError: neither an address nor a folder with a Git repository.
    """
    if _ADDRESS.match(text):
        return Repository("github" if GITHUB.search(text) else "git", text)
    folder = Path(text).expanduser()
    if not folder.exists():
        if _SHORT.match(text):
            return Repository("github", f"https://github.com/{text}")
        raise StackError(f"{folder.absolute()} does not exist.", "Give a folder, or an address to clone from.")
    root = _git(folder, "rev-parse", "--show-toplevel")
    if root is None:
        raise StackError(
            f"{folder.absolute()} is not a Git repository.",
            "Make it one: git init && git add . && git commit -m 'First commit'",
        )
    head = _git(folder, "rev-parse", "HEAD")
    changed = bool(_git(folder, "status", "--porcelain"))
    return Repository("local", str(Path(root).resolve()), head, changed)


def _git(folder: Path, *arguments: str) -> str | None:
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None

"""One way to serve a project, as shell commands."""

import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Candidate:
    """A way to serve a folder: `install` first, then `serve` on `$HOST:$PORT` until it is ended."""

    framework: str
    name: str
    install: str | None
    serve: str
    folder: str = ""
    needs_image: bool = False
    """It can only be had as an image that is built first."""
    rank: int = 0
    """The lower, the likelier."""

    def shown(self) -> dict[str, Any]:
        """As the answer to a command has it."""
        values = asdict(self)
        del values["rank"]
        return values


def installed_once(folder: str, manifests: Sequence[str], command: str) -> str:
    """A command that installs into `folder`, left out as long as these files have not changed since."""
    named = " ".join(shlex.quote(name) for name in manifests)
    stamp = f"{folder}/.runyard-installed"
    return (
        f'sum="$(cat {named} | cksum)"; if [ "$(cat {stamp} 2>/dev/null)" != "$sum" ]; then {command} && '
        f"mkdir -p {folder} && printf '*\\n' > {folder}/.gitignore && printf '%s\\n' \"$sum\" > {stamp}; fi"
    )

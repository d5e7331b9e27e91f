"""What npm is told, so that it installs what a lock says and runs nothing of it.

Standard library only: agents are put into an image by this very file (deploy/agents.Dockerfile).

    python npm.py LOCKS FOLDER NAME ...     # each agent to FOLDER/<name>-<version>
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

INSTALL = ("ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier", "--omit=dev")


def wanted_by(lock: Path) -> dict[str, str]:
    """The packages that a lock is about, with their versions."""
    locked: dict[str, Any] = json.loads(lock.read_text())
    return locked["packages"][""]["dependencies"]


def place_of(lock: Path) -> str:
    """The name of an agent's folder: one per version."""
    return f"{lock.stem}-{next(iter(wanted_by(lock).values()))}"


def prepare(folder: Path, lock: Path) -> None:
    """What npm has to find in the folder that it installs into."""
    package = {"name": "agent", "private": True, "dependencies": wanted_by(lock)}
    (folder / "package.json").write_text(json.dumps(package))
    (folder / "package-lock.json").write_text(lock.read_text())


def main(locks: Path, parent: Path, *names: str) -> None:
    """Installs the named agents."""
    known = {lock.stem: lock for lock in sorted(locks.glob("*.json"))}
    if unknown := set(names) - set(known):
        sys.exit(f"No agent {', '.join(sorted(unknown))} comes from npm. One of: {', '.join(known)}")
    for name in names:
        folder = parent / place_of(known[name])
        folder.mkdir(parents=True)
        prepare(folder, known[name])
        subprocess.run(["npm", *INSTALL], cwd=folder, check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])

"""Lays the packages of a source tree side by side into one folder, with the metadata that an installed one has.

    python arrange.py SOURCE TARGET

For images: our own code is on PYTHONPATH, only what it depends on is installed.
"""

import compileall
import shutil
import sys
import tomllib
from pathlib import Path


def arrange(source: Path, target: Path) -> None:
    """Every folder with a pyproject.toml and a `src`; compiled, because the root of a container is read-only."""
    for description in sorted(source.rglob("pyproject.toml")):
        project = tomllib.loads(description.read_text())["project"]
        shutil.copytree(description.parent / "src", target, dirs_exist_ok=True)
        name, version = project["name"], project["version"]
        info = target / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    compileall.compile_dir(target, quiet=1)


if __name__ == "__main__":
    arrange(Path(sys.argv[1]), Path(sys.argv[2]))

"""Looks at a folder of ours for the kind of project that it holds; never follows a link out of it."""

import asyncio
import json
from functools import cache
from importlib.resources import files as package_files
from pathlib import Path

from runyard_workspace.adapters.tree import Tree, TreeError
from runyard_workspace.domain.frameworks import Frameworks
from runyard_workspace.domain.projects import FOLDERS, Files, detect, wanted_files
from runyard_workspace.domain.recipes import Candidate

READ_BYTES = 256 * 1024
"""A larger file is looked at up to there: what tells a framework stands near the top."""


class Projects:
    """Recognises projects by the frameworks that are known."""

    def __init__(self, frameworks: Frameworks | None = None) -> None:
        self._frameworks = frameworks or known_frameworks()

    async def detect(self, folder: Path) -> list[Candidate]:
        """Every way to serve what the folder holds, the likeliest first.

        Raises:
            FileNotFoundError: there is no such folder.
        """
        return await asyncio.to_thread(self._detect, folder)

    def _detect(self, folder: Path) -> list[Candidate]:
        if not folder.is_dir():
            raise FileNotFoundError(folder)
        tree, wanted = Tree(folder), wanted_files(self._frameworks)
        looked = [_look(tree, below, wanted) for below in FOLDERS]
        return detect([one for one in looked if one.content], self._frameworks)


@cache
def known_frameworks() -> Frameworks:
    """The list that comes with the service."""
    data = package_files("runyard_workspace") / "data" / "frameworks.json"
    return Frameworks.model_validate(json.loads(data.read_text(encoding="utf-8")))


def _look(tree: Tree, folder: str, wanted: dict[str, bool]) -> Files:
    above = tuple(folder.split("/")) if folder else ()
    content: dict[str, str | None] = {}
    for name, is_read in wanted.items():
        parts = (*above, *name.split("/"))
        found = tree.kind(parts)
        if found is not None and found[0] == "file":
            content[name] = _text(tree, parts) if is_read else None
    return Files(folder, content)


def _text(tree: Tree, parts: tuple[str, ...]) -> str | None:
    try:
        return tree.read(parts, limit=READ_BYTES).content.decode(errors="replace")
    except TreeError:
        return None

"""Where Git is to work: said explicitly, because a worktree's own `.git` file has been in an agent's hands."""

from dataclasses import dataclass, replace
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Place:
    """Where Git is to work: the repository's own folder, and optionally a worktree and an index of it."""

    common_dir: Path
    git_dir: Path | None = None
    work_tree: Path | None = None
    index: Path | None = None
    objects: Path | None = None
    """New objects go here instead of into the repository, whose objects stay readable."""

    def with_index(self, index: Path, objects: Path | None = None) -> "Place":
        """The same place with another index, and another folder for new objects."""
        return replace(self, index=index, objects=objects or self.objects)

    def environment(self) -> dict[str, str]:
        """The variables that keep Git from looking for a repository itself."""
        env = {"GIT_DIR": str(self.git_dir or self.common_dir), "GIT_COMMON_DIR": str(self.common_dir)}
        if self.work_tree:
            env["GIT_WORK_TREE"] = str(self.work_tree)
        if self.index:
            env["GIT_INDEX_FILE"] = str(self.index)
        if self.objects:
            env["GIT_OBJECT_DIRECTORY"] = str(self.objects)
            env["GIT_ALTERNATE_OBJECT_DIRECTORIES"] = str(self.common_dir / "objects")
        return env

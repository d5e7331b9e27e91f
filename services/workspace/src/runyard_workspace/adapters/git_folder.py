"""A Git directory that somebody else writes to: read as files that may be anything, never by Git itself.

Git would believe its configuration, and follow its alternates and its links. Here a name is opened without
following, sizes are limits and not promises, and what is written takes Git's own locks.
"""

import os
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from runyard_workspace.adapters.tree import WRITE, Changed, Missing, NotAFile, TooMuch, Tree, TreeError, translated

REF_BYTES = 1024
PACKED_REFS_BYTES = 8 * 1024**2
_NAMES = 10_000
_OBJECT = re.compile(r"[0-9a-f]{38}|[0-9a-f]{62}")
_PACK = re.compile(r"pack-[0-9a-f]{40,64}\.pack")
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Found:
    """Loose objects by their ids, and packs by the names of their files."""

    objects: tuple[str, ...]
    packs: tuple[str, ...]


class GitFolder(Tree):
    """A Git directory in other hands. What is not as Git would have it, is not there."""

    def ref(self, name: str) -> str | None:
        """The commit of a ref, named in full; None when it is not there or is no plain one.

        Raises:
            TreeError: it cannot be read.
        """
        parts = tuple(name.split("/"))
        with suppress(Missing, NotAFile):
            return _commit(self._text(parts, REF_BYTES).strip())
        with suppress(Missing, NotAFile):
            lines = (line.partition(" ") for line in self._text(("packed-refs",), PACKED_REFS_BYTES).splitlines())
            return next((_commit(commit) for commit, _, ref in lines if ref == name), None)
        return None

    def head(self) -> str | None:
        """The ref that HEAD stands on; None where it stands on a commit, or is nothing that can be read."""
        with suppress(TreeError):
            text = self._text(("HEAD",), REF_BYTES).strip()
            return text.removeprefix("ref: ") if text.startswith("ref: ") else None
        return None

    def standing(self) -> str | None:
        """The commit that HEAD stands at, by way of a branch or not.

        Raises:
            TreeError: it cannot be read.
        """
        name = self.head()
        if name is None:
            return _commit(self._text(("HEAD",), REF_BYTES).strip())
        return self.ref(name) if ".." not in name.split("/") else None

    def objects(self, limit: int) -> Found:
        """The objects that it holds itself: what its alternates name is not asked about.

        Raises:
            TooMuch: more than `limit`.
        """
        loose: list[str] = []
        for folder in self._names(("objects",), _NAMES):
            if re.fullmatch(r"[0-9a-f]{2}", folder):
                names = self._names(("objects", folder), limit - len(loose))
                loose += [folder + name for name in names if _OBJECT.fullmatch(name)]
        packs = self._names(("objects", "pack"), _NAMES)
        return Found(tuple(loose), tuple(name for name in packs if _PACK.fullmatch(name)))

    def move_ref(self, name: str, new: str, old: str) -> None:
        """Moves a branch as Git does: under its lock, and only from where it is known to be.

        Raises:
            Changed: it stands elsewhere by now, or Git is about to move it.
            TreeError: it cannot be written.
        """
        parts = tuple(name.split("/"))
        self._replace(parts, f"{new}\n".encode(), lambda: self.ref(name) == old)

    def put_index(self, content: bytes) -> None:
        """Puts another index in place of its own. Errors as `move_ref`."""
        self._replace(("index",), content, lambda: True)

    def _replace(self, parts: tuple[str, ...], content: bytes, unmoved: Callable[[], bool]) -> None:
        name, lock = parts[-1], f"{parts[-1]}.lock"
        with self._folder(parts[:-1], make=True) as folder:
            try:
                with translated():
                    file = os.open(lock, WRITE, 0o644, dir_fd=folder)
            except TreeError as error:
                raise Changed("Git has it locked.") from error
            try:
                with translated(), os.fdopen(file, "wb") as out:
                    out.write(content)
                _expect(unmoved())
                with translated():
                    os.rename(lock, name, src_dir_fd=folder, dst_dir_fd=folder)
            except BaseException:
                with suppress(OSError):
                    os.unlink(lock, dir_fd=folder)
                raise

    def _text(self, parts: tuple[str, ...], limit: int) -> str:
        piece = self.read(parts, limit=limit + 1)
        if len(piece.content) > limit:
            raise TooMuch("The file is too large.")
        return piece.content.decode(errors="replace")

    def _names(self, parts: tuple[str, ...], limit: int) -> list[str]:
        names: list[str] = []
        with suppress(Missing, NotAFile), self._folder(parts) as folder, translated(), os.scandir(folder) as found:
            for entry in found:
                if len(names) >= limit:
                    raise TooMuch("There are too many files.")
                names.append(entry.name)
        return names


def _commit(text: str) -> str | None:
    return text if _COMMIT.fullmatch(text) else None


def _expect(unmoved: bool) -> None:  # noqa: FBT001 - one thing, named
    if not unmoved:
        raise Changed("It has been changed meanwhile.")

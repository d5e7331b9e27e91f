"""Diffs: what Git prints, as rows and bounded text."""

from dataclasses import dataclass
from typing import Literal

Status = Literal["added", "modified", "deleted", "renamed", "copied", "type_changed"]

_STATUS: dict[str, Status] = {
    "A": "added", "M": "modified", "D": "deleted", "R": "renamed", "C": "copied", "T": "type_changed",
}  # fmt: skip
SUBMODULE = "160000"
HEADER = b"diff --git "


@dataclass(frozen=True, slots=True)
class FileChange:
    """What happened to one file. A binary file has no line counts."""

    path: str
    status: Status
    insertions: int
    deletions: int
    binary: bool = False
    old_path: str | None = None
    submodule: bool = False


@dataclass(frozen=True, slots=True)
class Totals:
    """A diff in three figures."""

    files: int
    insertions: int
    deletions: int


def totals(changes: list[FileChange]) -> Totals:
    """Adds the changes up."""
    return Totals(len(changes), sum(each.insertions for each in changes), sum(each.deletions for each in changes))


def parse_changes(output: bytes) -> list[FileChange]:
    """Reads `git diff-tree -r -z --raw --numstat`; entries that were cut off are left out."""
    tokens = output.split(b"\0")[:-1]
    counts: dict[bytes, tuple[bytes, bytes]] = {}
    heads: list[tuple[str, bool, bytes, bytes | None]] = []
    position = 0
    while position < len(tokens):
        token = tokens[position]
        if token.startswith(b":"):
            fields = token[1:].decode().split(" ")
            status = fields[4][0]
            names = 2 if status in "RC" else 1
            pair = tokens[position + 1 : position + 1 + names]
            if len(pair) == names:
                heads.append((status, SUBMODULE in fields[:2], pair[-1], pair[0] if names > 1 else None))
            position += 1 + names
        else:
            inserted, deleted, path = token.split(b"\t", 2)
            renamed = not path
            name = tokens[position + 2 : position + 3] if renamed else [path]
            if name:
                counts[name[0]] = (inserted, deleted)
            position += 3 if renamed else 1
    return [_change(head, counts.get(head[2])) for head in heads]


def _change(head: tuple[str, bool, bytes, bytes | None], count: tuple[bytes, bytes] | None) -> FileChange:
    status, submodule, path, old = head
    inserted, deleted = count or (b"0", b"0")
    binary = inserted == b"-"
    return FileChange(
        path=path.decode(errors="backslashreplace"),
        status=_STATUS.get(status, "modified"),
        insertions=0 if binary else int(inserted),
        deletions=0 if binary else int(deleted),
        binary=binary,
        old_path=old.decode(errors="backslashreplace") if old is not None else None,
        submodule=submodule,
    )


def bounded_patch(patch: bytes, limit: int) -> tuple[str, bool]:
    """The text of a patch up to `limit` bytes, cut between files, so that what is there can be applied.

    Returns the text and whether something was left out.
    """
    if len(patch) <= limit:
        return patch.decode(errors="replace"), False
    cut = patch[:limit].rfind(b"\n" + HEADER)
    return (patch[: cut + 1].decode(errors="replace") if cut > 0 else ""), True

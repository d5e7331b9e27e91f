"""Which paths of a worktree a client may name."""

import re

MAX_PATH = 4096
MAX_NAME = 255
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class PathRefused(ValueError):
    """The path is not one that can be read or written through the service."""


def parse_path(text: str) -> tuple[str, ...]:
    """Takes a relative path apart into plain names.

    The result never climbs out of the tree by its text alone; links are the business of the file
    access, which follows none (`adapters/tree.py`).

    Raises:
        PathRefused: the path is absolute, empty, too long, contains `..`, or names Git's own data.
    """
    if not text or text == ".":
        raise PathRefused("A file must be named.")
    if "\0" in text or len(text.encode(errors="surrogateescape")) > MAX_PATH:
        raise PathRefused("The path contains a null character or is too long.")
    if text.startswith("/"):
        raise PathRefused("The path must be relative to the worktree.")
    parts = tuple(text.split("/"))
    for part in parts:
        _check_name(part)
    return parts


def parse_folder(text: str) -> tuple[str, ...]:
    """Takes the path of a folder apart; empty text and `.` are the worktree itself.

    Raises:
        PathRefused: see `parse_path`.
    """
    trimmed = text.removesuffix("/")
    return () if trimmed in ("", ".") and not text.startswith("/") else parse_path(trimmed)


def has_control_characters(text: str) -> bool:
    """Whether a text has characters that no URL of ours may hold."""
    return _CONTROL.search(text) is not None


def is_git_data(name: str) -> bool:
    """Whether a name is, on some file system, the folder or file in which Git keeps its own data."""
    plain = "".join(character for character in name if character not in _IGNORED_BY_HFS).casefold()
    return plain.rstrip(" .") in (".git", "git~1") or plain.startswith((".git:", "git~1:"))


# HFS+ leaves these out when it compares names, so `.g\u200cit` opens `.git` there.
_IGNORED_BY_HFS = frozenset(map(chr, (*range(0x200C, 0x2010), *range(0x202A, 0x202F), *range(0x206A, 0x2070), 0xFEFF)))


def _check_name(name: str) -> None:
    if name in ("", ".", ".."):
        raise PathRefused("The path must not contain '.', '..' or empty parts.")
    if len(name.encode(errors="surrogateescape")) > MAX_NAME:
        raise PathRefused("A name in the path is too long.")
    if is_git_data(name):
        raise PathRefused("Git's own data cannot be read or written as files.")

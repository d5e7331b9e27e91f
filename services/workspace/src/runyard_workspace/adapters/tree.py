"""Files of a worktree, reached name by name from an open folder, following no link.

A path is never given to the system as text: between a check of the text and its use an agent could put
a link in the way. Each folder is opened relative to the one before with `O_NOFOLLOW`, and the file
itself relative to its open parent, so what is read or written is inside the tree by construction.
"""

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Without O_NONBLOCK the opening of a pipe would wait for somebody at its other end.
READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

Kind = Literal["file", "directory", "symlink", "other"]


class TreeError(Exception):
    """A file cannot be had; the text is for the asker."""


class Missing(TreeError):
    """There is no such file."""


class NotAFile(TreeError):
    """The path leads to a folder, a link, a device or a pipe, or through something that is no folder."""


class Changed(TreeError):
    """The file is not in the state that the writer believes it to be in."""


class TooMuch(TreeError):
    """There is more of it than is taken."""


class NotPossible(TreeError):
    """The system does not let the file be read or written (permissions, no space)."""


@dataclass(frozen=True, slots=True)
class FileState:
    """What is known about a file without reading it. `etag` changes with every write."""

    size: int
    modified_ns: int
    executable: bool
    etag: str


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a file's content, from `offset` on."""

    state: FileState
    offset: int
    content: bytes


class Tree:
    """The files below `root/*inner`; nothing of `inner` may be a link either."""

    def __init__(self, root: Path, inner: tuple[str, ...] = ()) -> None:
        self._root = root
        self._inner = inner

    def read(self, parts: tuple[str, ...], *, offset: int = 0, limit: int) -> Piece:
        """Up to `limit` bytes of a file from `offset` on.

        Raises:
            Missing: there is no such file.
            NotAFile: it is not a regular file, or a link is on the way.
            NotPossible: the system refuses.
        """
        with self._folder(parts[:-1]) as folder, translated():
            # Looked at before it is opened, because opening a device can already have an effect.
            expect_file(os.stat(parts[-1], dir_fd=folder, follow_symlinks=False))
            file = os.open(parts[-1], READ, dir_fd=folder)
            try:
                state = expect_file(os.fstat(file))
                return Piece(state, offset, _read_all(file, offset, limit))
            finally:
                os.close(file)

    def copy(self, parts: tuple[str, ...], into: "Tree", limit: int, *, name: tuple[str, ...] | None = None) -> int:
        """Copies a file to a new one of another tree, whatever its size was said to be; returns how many bytes it had.

        There it has the same path, or that of `name`.

        Raises:
            TooMuch: it has more than `limit` bytes.
            TreeError: as `read`; or, in the other tree, it is there already or a link is on the way.
        """
        target = name or parts
        there_in = into._folder(target[:-1], make=True)  # noqa: SLF001 - it is a tree as well
        with self._folder(parts[:-1]) as folder, there_in as there, translated():
            expect_file(os.stat(parts[-1], dir_fd=folder, follow_symlinks=False))
            file = os.open(parts[-1], READ, dir_fd=folder)
            try:
                state = expect_file(os.fstat(file))
                with os.fdopen(os.open(target[-1], WRITE, 0o644, dir_fd=there), "wb") as out:
                    size = _copy_all(file, out, limit)
                    os.fchmod(out.fileno(), 0o755 if state.executable else 0o644)
                return size
            finally:
                os.close(file)

    def make_link(self, parts: tuple[str, ...], text: str) -> None:
        """Makes a symbolic link where nothing is. Raises as `copy` does."""
        with self._folder(parts[:-1], make=True) as folder, translated():
            os.symlink(text, parts[-1], dir_fd=folder)

    def link(self, parts: tuple[str, ...]) -> str:
        """Where a symbolic link points to, in its own words. Raises as `read` does."""
        with self._folder(parts[:-1]) as folder, translated():
            return os.readlink(parts[-1], dir_fd=folder)

    def state(self, parts: tuple[str, ...]) -> FileState:
        """What a file is like now. Raises as `read` does."""
        with self._folder(parts[:-1]) as folder, translated():
            return expect_file(os.stat(parts[-1], dir_fd=folder, follow_symlinks=False))

    def kind(self, parts: tuple[str, ...]) -> tuple[Kind, int] | None:
        """What stands at a path, and its size; None when nothing does."""
        try:
            with self._folder(parts[:-1]) as folder, translated():
                found = os.stat(parts[-1], dir_fd=folder, follow_symlinks=False)
        except TreeError:
            return None
        return _kind(found.st_mode), found.st_size

    def write(
        self,
        parts: tuple[str, ...],
        content: bytes,
        *,
        if_match: str | None = None,
        only_new: bool = False,
    ) -> tuple[FileState, bool]:
        """Puts a whole file in place in one step, making folders on the way; tells whether it is new.

        Raises:
            Changed: the file is not the one named by `if_match`, or is there although it must be new.
            NotAFile: something else than a regular file stands there, or a link is on the way.
            NotPossible: the system refuses.
        """
        with self._folder(parts[:-1], make=True) as folder, translated():
            name = parts[-1]
            before = _present(name, folder)
            _check_expectation(before, if_match, only_new=only_new)
            draft = f".runyard-{secrets.token_hex(8)}.tmp"
            mode = 0o755 if before is not None and before.executable else 0o644
            file = os.open(draft, WRITE, mode, dir_fd=folder)
            try:
                _write_all(file, content)
                os.fsync(file)
                # A link that was put there in the meantime is replaced by this, never followed.
                os.rename(draft, name, src_dir_fd=folder, dst_dir_fd=folder)
                draft = ""
                return _state(os.fstat(file)), before is None
            finally:
                os.close(file)
                if draft:
                    os.unlink(draft, dir_fd=folder)

    @contextmanager
    def _folder(self, parts: tuple[str, ...], *, make: bool = False) -> Generator[int]:
        current = -1
        try:
            with translated():
                current = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                for number, part in enumerate((*self._inner, *parts)):
                    below = _open_folder(part, current, make=make and number >= len(self._inner))
                    os.close(current)
                    current = below
            yield current
        finally:
            if current >= 0:
                os.close(current)


def _open_folder(name: str, parent: int, *, make: bool) -> int:
    try:
        return os.open(name, FOLDER, dir_fd=parent)
    except FileNotFoundError:
        if not make:
            raise
    with contextlib.suppress(FileExistsError):  # somebody else made it just now
        os.mkdir(name, 0o755, dir_fd=parent)
    return os.open(name, FOLDER, dir_fd=parent)


def _present(name: str, folder: int) -> FileState | None:
    try:
        return expect_file(os.stat(name, dir_fd=folder, follow_symlinks=False))
    except FileNotFoundError:
        return None


def _check_expectation(before: FileState | None, if_match: str | None, *, only_new: bool) -> None:
    if only_new and before is not None:
        raise Changed("The file is there already.")
    if if_match is None:
        return
    if before is None:
        raise Changed("The file is not there any more.")
    if if_match not in ("*", before.etag):
        raise Changed("The file has been changed since it was read.")


def expect_file(found: os.stat_result) -> FileState:
    kind = _kind(found.st_mode)
    if kind != "file":
        words = {"directory": "a folder", "symlink": "a symbolic link", "other": "not a regular file"}
        raise NotAFile(f"The path is {words[kind]}.")
    return _state(found)


def _kind(mode: int) -> Kind:
    if stat.S_ISREG(mode):
        return "file"
    if stat.S_ISDIR(mode):
        return "directory"
    return "symlink" if stat.S_ISLNK(mode) else "other"


def _state(found: os.stat_result) -> FileState:
    etag = f"{found.st_ino:x}-{found.st_size:x}-{found.st_mtime_ns:x}"
    return FileState(found.st_size, found.st_mtime_ns, bool(found.st_mode & stat.S_IXUSR), etag)


def _read_all(file: int, offset: int, limit: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    while size < limit and (chunk := os.pread(file, min(limit - size, 1024 * 1024), offset + size)):
        parts.append(chunk)
        size += len(chunk)
    return b"".join(parts)


def _copy_all(source: int, out: IO[bytes], limit: int) -> int:
    size = 0
    while chunk := os.read(source, 1024 * 1024):
        size += len(chunk)
        if size > limit:
            raise TooMuch("The file is too large.")
        out.write(chunk)
    return size


def _write_all(file: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(file, view) :]


@contextmanager
def translated() -> Generator[None]:
    """System errors in the words of this module."""
    try:
        yield
    except FileNotFoundError as error:
        raise Missing("There is no such file.") from error
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.EMLINK, errno.EISDIR, errno.ENXIO):
            raise NotAFile("The path leads through a link or something that is no folder.") from error
        if error.errno in (errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ):
            raise Missing("There cannot be such a file.") from error
        raise NotPossible(error.strerror or "The system refuses.") from error

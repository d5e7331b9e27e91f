"""A project's files as the engine wants them for a build: one tar, without what `.dockerignore` names.

Somebody may change the files while they are read, and turn any of them into a link: each folder and file is
opened below the one that holds it, never through a link. Links themselves are packed as links.
"""

import fnmatch
import io
import os
import re
import stat
import tarfile
import tempfile
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import IO

from runyard_sandbox.builds import Build, BuildFailed
from runyard_sandbox.provisioner import MIB

DOCKERFILES = ("Dockerfile", "Containerfile")
_IGNORED = ".dockerignore"
_STEPS = ".runyard.Dockerfile"
"""A Dockerfile that is none of the files."""
_ALWAYS_IGNORED = ".git"
"""It says where on this host the repository is, or is the repository with all of its past."""
_IGNORE_BYTES = 64 * 1024
_MOST_ENTRIES = 100_000
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Ignore:
    """What a `.dockerignore` says: the last pattern that fits a path, or a folder above it, decides."""

    def __init__(self, text: str) -> None:
        lines = [line.strip() for line in text.lstrip("\ufeff").splitlines() if not line.startswith("#")]
        self._patterns = [_pattern(line) for line in lines if line and line != "!"]
        self.has_exceptions = any(not ignores for ignores, _ in self._patterns)

    def __call__(self, path: str) -> bool:
        """Whether it is left out."""
        parts, left_out = path.split("/"), False
        for ignores, tokens in self._patterns:
            if left_out is not ignores and _fits(tokens, parts):
                left_out = ignores
        return left_out


def pack(order: Build) -> tuple[IO[bytes], str]:
    """The tar, read from its beginning, and which of its files is the Dockerfile.

    Raises:
        BuildFailed: the files are too large, have no Dockerfile, or cannot be read.
    """
    packed = tempfile.TemporaryFile()  # noqa: SIM115 - the caller's to close
    try:
        dockerfile = _pack(order, packed)
    except OSError as error:
        packed.close()
        raise BuildFailed(f"The project's files cannot be read: {error.strerror or error}") from None
    except BaseException:
        packed.close()
        raise
    packed.seek(0)
    return packed, dockerfile


def read_below(folder: Path, path: str, most_bytes: int) -> bytes | None:
    """One of a project's files, found through no link; None: there is none that is a file of its own.

    Raises:
        OSError: it cannot be read.
    """
    *above, name = path.split("/")
    try:
        holder = _opened(folder, above)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        if not _is_file(holder, name):
            return None
        with os.fdopen(os.open(name, _OPEN, dir_fd=holder), "rb") as file:
            return file.read(most_bytes)
    finally:
        os.close(holder)


def _pack(order: Build, packed: IO[bytes]) -> str:
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar:
        if order.within is None:
            return _add_steps(tar, order.steps or "")
        top = _opened(order.folder, order.within.split("/") if order.within else [])
        try:
            return _pack_files(order, top, tar)
        finally:
            os.close(top)


def _pack_files(order: Build, top: int, tar: tarfile.TarFile) -> str:
    most_bytes, total = order.most_context_bytes, 0
    dockerfile = _add_steps(tar, order.steps) if order.steps is not None else _dockerfile(order, top)
    keep = {_IGNORED, dockerfile, *(str(above) for above in PurePosixPath(dockerfile).parents)}
    for count, (path, name, holder) in enumerate(_wanted(top, Ignore(_text(top, _IGNORED)), keep)):
        if path == _STEPS:
            continue
        total += _add(tar, path, name, holder, most_bytes - total)
        if total > most_bytes or count >= _MOST_ENTRIES:
            raise BuildFailed(
                f"The project is larger than the {most_bytes // MIB} MiB or {_MOST_ENTRIES:,} files that an "
                "image may be built of. Name what it does not need in .dockerignore."
            )
    return dockerfile


def _dockerfile(order: Build, top: int) -> str:
    if order.dockerfile is None:
        found = next((name for name in DOCKERFILES if _is_file(top, name)), None)
    else:
        *above, name = order.dockerfile.split("/")
        holder = _opened(".", above, top)
        found = order.dockerfile if _is_file(holder, name) else None
        os.close(holder)
    if found is None:
        raise BuildFailed(f"There is no {order.dockerfile or 'Dockerfile'} that is a file of the project's own.")
    return found


def _add_steps(tar: tarfile.TarFile, steps: str) -> str:
    text = steps.encode()
    entry = tarfile.TarInfo(_STEPS)
    entry.size = len(text)
    tar.addfile(entry, io.BytesIO(text))
    return _STEPS


def _opened(folder: Path | str, below: Sequence[str], at: int | None = None) -> int:
    """The open folder; of what is below it no part may be a link."""
    holder = os.open(folder, _OPEN | os.O_DIRECTORY, dir_fd=at)
    for name in below:
        try:
            inner = os.open(name, _OPEN | os.O_DIRECTORY, dir_fd=holder)
        finally:
            os.close(holder)
        holder = inner
    return holder


def _wanted(top: int, ignore: Ignore, keep: Collection[str]) -> Iterator[tuple[str, str, int]]:
    """Path in the tar, name, and the open folder that holds it."""
    for root, folders, files, holder in os.fwalk(".", topdown=True, follow_symlinks=False, dir_fd=top):
        base = root.removeprefix(".").removeprefix("/")
        if not base:
            folders[:] = [name for name in folders if name != _ALWAYS_IGNORED]
            files = [name for name in files if name != _ALWAYS_IGNORED]  # noqa: PLW2901
        paths = {name: f"{base}/{name}" if base else name for name in sorted([*folders, *files])}
        left_out = {name for name, path in paths.items() if path not in keep and ignore(path)}
        if not ignore.has_exceptions:
            folders[:] = [name for name in folders if name not in left_out]
        for name, path in paths.items():
            if name not in left_out:
                yield path, name, holder


def _add(tar: tarfile.TarFile, path: str, name: str, holder: int, most_bytes: int) -> int:
    """Adds one entry; its size."""
    try:
        about = os.stat(name, dir_fd=holder, follow_symlinks=False)
        entry = tarfile.TarInfo(path)
        entry.mode, entry.mtime = stat.S_IMODE(about.st_mode), int(about.st_mtime)
        if stat.S_ISDIR(about.st_mode):
            entry.type = tarfile.DIRTYPE
            tar.addfile(entry)
        elif stat.S_ISLNK(about.st_mode):
            entry.type, entry.linkname = tarfile.SYMTYPE, os.readlink(name, dir_fd=holder)
            tar.addfile(entry)
        elif stat.S_ISREG(about.st_mode):
            return _add_file(tar, entry, name, holder, most_bytes)
    except FileNotFoundError:
        return 0  # it was removed meanwhile
    return 0


def _add_file(tar: tarfile.TarFile, entry: tarfile.TarInfo, name: str, holder: int, most_bytes: int) -> int:
    with os.fdopen(os.open(name, _OPEN, dir_fd=holder), "rb") as file:
        about = os.fstat(file.fileno())
        if not stat.S_ISREG(about.st_mode):
            return 0
        if about.st_size > most_bytes:
            return about.st_size  # said by the caller, without reading it
        entry.size = about.st_size
        tar.addfile(entry, _Exactly(file, about.st_size))
        return about.st_size


class _Exactly(io.RawIOBase):
    """As many bytes as were promised: a file may become shorter while it is read."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file, self._left = file, size

    def read(self, size: int = -1, /) -> bytes:
        wanted = self._left if size < 0 else min(size, self._left)
        data = self._file.read(wanted).ljust(wanted, b"\0")
        self._left -= len(data)
        return data


def _is_file(top: int, name: str) -> bool:
    try:
        return stat.S_ISREG(os.stat(name, dir_fd=top, follow_symlinks=False).st_mode)
    except OSError:
        return False


def _text(top: int, name: str) -> str:
    if not _is_file(top, name):
        return ""
    with os.fdopen(os.open(name, _OPEN, dir_fd=top), "rb") as file:
        return file.read(_IGNORE_BYTES).decode(errors="replace")


def _pattern(line: str) -> tuple[bool, Sequence[re.Pattern[str] | None]]:
    """Whether it leaves out, and one expression for each part of a path; None: any number of parts."""
    ignores = not line.startswith("!")
    parts = os.path.normpath(line.removeprefix("!").strip().lstrip("/")).split("/")
    # Those of the standard library take linear time, whatever the pattern is.
    return ignores, [
        None if part == "**" else re.compile(fnmatch.translate(part.replace("[^", "[!"))) for part in parts
    ]


def _fits(tokens: Sequence[re.Pattern[str] | None], parts: Sequence[str]) -> bool:
    """Whether the path, or a folder above it, is one of the pattern."""
    reached = _beyond(tokens, {0})
    for part in parts:
        here = {at for at in reached if at < len(tokens)}
        stay = {at for at in here if tokens[at] is None}
        on = {at + 1 for at in here if (token := tokens[at]) is not None and token.match(part)}
        reached = _beyond(tokens, stay | on)
        if len(tokens) in reached:
            return True
    return False


def _beyond(tokens: Sequence[re.Pattern[str] | None], reached: set[int]) -> set[int]:
    """`**` may stand for nothing."""
    found = set(reached)
    for at, token in enumerate(tokens):
        if at in found and token is None:
            found.add(at + 1)
    return found

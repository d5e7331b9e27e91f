"""Takes commits over from a Git directory in other hands.

Its objects are copied out as bytes and put to the test in a repository of our own; only what passes gets to
the managed copy's. Neither the directory's configuration and hooks, nor its alternates, links or pack
indexes are looked at.
"""

import asyncio
import re
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from runyard_workspace.adapters.clean_room import CleanRooms
from runyard_workspace.adapters.disk import FULL, is_full
from runyard_workspace.adapters.git import Git, GitError, GitTimeout
from runyard_workspace.adapters.git_folder import GitFolder
from runyard_workspace.adapters.place import Place
from runyard_workspace.adapters.tree import TooMuch, Tree, TreeError

INCOMING = "refs/heads/incoming"
_HEADER = re.compile(rb"(?:commit|tree|blob|tag) (\d{1,15})\0")
_HEADER_BYTES = 32
_PATH = re.compile(r"(?<![\w.])/[\w./-]+")
"""Of this machine: it says nothing to the reader."""

Refusal = Literal["damaged", "too_large", "timeout", "disk_full"]


class NotTaken(Exception):
    """The commits are not taken; nothing of them can be reached from the managed copy."""

    def __init__(self, reason: Refusal, message: str, commit: str | None = None) -> None:
        super().__init__(message)
        self.reason: Refusal = reason
        self.message = message
        self.commit = commit


@dataclass(frozen=True, slots=True)
class TakeLimits:
    """How much is taken over at once. `object_bytes` and `total_bytes` are what it is unpacked."""

    objects: int = 100_000
    object_bytes: int = 100 * 1024**2
    total_bytes: int = 1024**3
    copied_bytes: int = 512 * 1024**2
    memory_bytes: int = 4 * 1024**3
    seconds: float = 120.0


@dataclass(frozen=True)
class Takeover:
    """Brings a commit and all that belongs to it from a directory in other hands to a repository."""

    git: Git
    rooms: CleanRooms
    limits: TakeLimits

    async def bring(self, commit: str, source: GitFolder, common: Path) -> None:
        """Afterwards the repository has the commit with its whole history, every object of it checked.

        Raises:
            NotTaken: something of it is missing, is not what Git would write, or is too much.
            OSError: the disk refuses.
        """
        try:
            async with asyncio.timeout(self.limits.seconds), self.rooms.quarantine(common) as quarantine:
                await self._copy(source, quarantine, common)
                await asyncio.to_thread((quarantine / INCOMING).write_text, f"{commit}\n")
                await self._fetch(quarantine, common)
                kind = await self.git.text("cat-file", "-t", commit, at=Place(common))
        except TooMuch as error:
            raise NotTaken("too_large", str(error), commit) from error
        except TreeError as error:
            raise NotTaken("damaged", str(error), commit) from error
        except (GitTimeout, TimeoutError) as error:
            raise NotTaken("timeout", "Checking the commits took too long.", commit) from error
        except (GitError, OSError) as error:
            if is_full(error, common):
                raise NotTaken("disk_full", FULL, commit) from error
            if isinstance(error, OSError):
                raise
            raise NotTaken("damaged", f"Git does not accept the commits: {_complaint(error)}", commit) from error
        if kind != "commit":
            raise NotTaken("damaged", f"The branch stands at a {kind}, not at a commit.", commit)

    async def _copy(self, source: GitFolder, quarantine: Path, common: Path) -> None:
        found = await asyncio.to_thread(source.objects, self.limits.objects)
        missing = await self._missing(found.objects, common)
        packs = await asyncio.to_thread(self._copy_out, source, quarantine, missing, found.packs)
        at = Place(quarantine)
        for pack in packs:
            # Its own index may say anything; this one is made from what is in it.
            await self._limited("index-pack", "--strict", str(pack), at=at)
            await self._weigh(pack, at)

    async def _missing(self, objects: tuple[str, ...], common: Path) -> list[str]:
        if not objects:
            return []
        asked = "".join(f"{one}\n" for one in objects).encode()
        answer = await self.git.output("cat-file", "--batch-check", at=Place(common), stdin=asked)
        return [line.split()[0] for line in answer.decode().splitlines() if line.endswith(" missing")]

    def _copy_out(self, source: GitFolder, quarantine: Path, objects: list[str], packs: tuple[str, ...]) -> list[Path]:
        left, unpacked = self.limits.copied_bytes, self.limits.total_bytes
        ours = Tree(quarantine)
        for name in objects:
            parts = ("objects", name[:2], name[2:])
            left -= source.copy(parts, ours, left)
            unpacked -= _unpacked_size(quarantine.joinpath(*parts), self.limits.object_bytes)
            if unpacked < 0:
                raise TooMuch("The commits bring more than is taken over at once.")
        copied: list[Path] = []
        for number, name in enumerate(packs):
            target = ("objects", "pack", f"pack-{number:040x}.pack")
            left -= source.copy(("objects", "pack", name), ours, left, name=target)
            copied.append(quarantine.joinpath(*target))
        return copied

    async def _weigh(self, pack: Path, at: Place) -> None:
        index = await asyncio.to_thread(pack.with_suffix(".idx").read_bytes)
        listed = await self.git.output("show-index", at=at, stdin=index)
        asked = b"".join(line.split()[1] + b"\n" for line in listed.splitlines())
        answer = await self.git.output("cat-file", "--batch-check=%(objectsize)", at=at, stdin=asked)
        sizes = [int(line) for line in answer.split()]
        if max(sizes, default=0) > self.limits.object_bytes or sum(sizes) > self.limits.total_bytes:
            raise TooMuch("The commits bring more than is taken over at once.")

    async def _fetch(self, quarantine: Path, common: Path) -> None:
        refs = await self.rooms.refs(Place(common), "refs/heads", "refs/remotes")
        async with self.rooms.around(common, refs) as at:
            await self._limited(
                "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance",
                "--no-recurse-submodules", "--refmap=", str(quarantine), f"{INCOMING}:refs/incoming",
                at=at,
            )  # fmt: skip

    async def _limited(self, *args: str, at: Place) -> None:
        """A Git that checks what others have made: it gets no more memory than it may need."""
        local = replace(self.git, protocols=("file",))
        settings = {"transfer.fsckObjects": "true", "core.bigFileThreshold": "32m", "fetch.unpackLimit": "100"}
        await local.output(
            *args, at=at, settings=settings, timeout=self.limits.seconds, memory=self.limits.memory_bytes
        )


def _unpacked_size(path: Path, limit: int) -> int:
    """The size that a loose object says it has. Git goes by it too, and takes none that is longer in truth.

    Raises:
        TooMuch: it is larger than `limit`.
        TreeError: it is none.
    """
    with path.open("rb") as file:
        try:
            head = zlib.decompressobj().decompress(file.read(4096), _HEADER_BYTES)
        except zlib.error as error:
            raise TreeError("An object is damaged.") from error
    match = _HEADER.match(head)
    if match is None:
        raise TreeError("An object is damaged.")
    size = int(match[1])
    if size > limit:
        raise TooMuch(f"A file of the commits is larger than {limit // 1024**2} MiB.")
    return size


def _complaint(error: GitError) -> str:
    """The line in which Git says what is wrong, rather than that it gives up."""
    lines = [line for line in error.stderr.splitlines() if line.startswith(("error:", "fatal:"))]
    return _PATH.sub("…", lines[0] if lines else error.last_words)[:300]

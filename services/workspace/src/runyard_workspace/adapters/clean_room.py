"""Git directories with nothing in them but what we have put there, around the objects of a repository.

A managed copy's configuration decides where Git connects, whose helpers it asks and what it runs; an agent
that worked on this machine may have written to it. Whatever speaks to a remote, or takes objects from
hands that are not ours, therefore does so from a directory of our own making.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from runyard_workspace.adapters.git import Git
from runyard_workspace.adapters.place import Place
from runyard_workspace.adapters.staging import Staging

_LISTED = ("refs/heads", "refs/remotes", "refs/tags")
LARGE = "32m"
"""A larger object is never held in memory as a whole."""


@dataclass(frozen=True)
class CleanRooms:
    """Makes Git directories that live for one step."""

    git: Git
    scratch: Staging

    @asynccontextmanager
    async def around(self, common: Path, refs: Mapping[str, str]) -> AsyncGenerator[Place]:
        """A directory of our own with these refs, whose objects are those of the repository, new ones included."""
        async with self.scratch.folder("clean") as folder:
            await asyncio.to_thread(lay_out, folder, await self.object_format(common), refs)
            yield Place(folder, objects=common / "objects")

    @asynccontextmanager
    async def quarantine(self, common: Path) -> AsyncGenerator[Path]:
        """A repository of our own that can read the objects of another, and keeps its new ones to itself."""
        async with self.scratch.folder("quarantine") as folder:
            await asyncio.to_thread(lay_out, folder, await self.object_format(common), {}, (common / "objects",))
            yield folder

    async def object_format(self, common: Path) -> str:
        """The hash that a repository names its objects by."""
        return await self.git.text("rev-parse", "--show-object-format=storage", at=Place(common))

    async def refs(self, at: Place, *below: str) -> dict[str, str]:
        """The branches and tags of a repository by their full names; those that only stand for others left out."""
        listed = await self.git.text(
            "for-each-ref", "--format=%(objectname) %(refname)%(if)%(symref)%(then) ->%(end)", *(below or _LISTED),
            at=at,
        )  # fmt: skip
        pairs = (line.split(" ", 1) for line in listed.splitlines())
        return {ref: commit for commit, ref in pairs if not ref.endswith(" ->")}


def lay_out(
    folder: Path,
    object_format: str,
    refs: Mapping[str, str],
    alternates: tuple[Path, ...] = (),
    *,
    head: str = "ref: refs/heads/main",
    settings: str = "",
) -> None:
    """Makes a Git directory by hand: no template, no hook, no setting that is not written here."""
    for name in ("objects/info", "objects/pack", "refs/heads", "refs/tags", "info"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "HEAD").write_text(f"{head}\n")
    (folder / "config").write_text(_config(object_format) + settings)
    if refs:
        (folder / "packed-refs").write_text("".join(f"{commit} {ref}\n" for ref, commit in sorted(refs.items())))
    if alternates:
        (folder / "objects" / "info" / "alternates").write_text("".join(f"{one}\n" for one in alternates))


def _config(object_format: str) -> str:
    sha1 = object_format == "sha1"
    extension = "" if sha1 else f"[extensions]\n\tobjectFormat = {object_format}\n"
    return (
        f"[core]\n\trepositoryformatversion = {0 if sha1 else 1}\n\tfilemode = true\n\tbare = true\n"
        f"\tbigFileThreshold = {LARGE}\n"
        f"{extension}[gc]\n\tauto = 0\n[pack]\n\tthreads = 1\n\twindowMemory = 64m\n"
    )

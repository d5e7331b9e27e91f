"""A clone that is watched: progress told, size and time held, and all or nothing on disk."""

import asyncio
import contextlib
import errno
from dataclasses import dataclass, replace
from pathlib import Path

from runyard_chassis.folders import remove_folder
from runyard_workspace.adapters.following import Tell, follow
from runyard_workspace.adapters.git import Git, GitError, GitTimeout
from runyard_workspace.adapters.guard import Guard, Limits
from runyard_workspace.adapters.place import Place
from runyard_workspace.adapters.signing_in import offered
from runyard_workspace.adapters.sizes import folder_size
from runyard_workspace.adapters.staging import Staging
from runyard_workspace.domain.credentials import Credential
from runyard_workspace.domain.failures import Failure, classify, failure
from runyard_workspace.domain.sources import LocalSource, Source


class CloneFailed(Exception):
    """The repository could not be had; nothing of it is on disk."""

    def __init__(self, cause: Failure) -> None:
        super().__init__(cause.message)
        self.failure = cause


@dataclass(frozen=True, slots=True)
class Cloned:
    """A finished managed copy."""

    path: Path
    head_commit: str
    default_branch: str
    size_bytes: int


class Cloner:
    """Clones into a staging folder and moves the finished copy to its place in one step."""

    def __init__(self, git: Git, staging: Staging, limits: Limits, protocols: tuple[str, ...]) -> None:
        self._git = git
        self._protocols = protocols
        self._staging = staging
        self._limits = limits
        self._guard = Guard(limits)

    async def clone(
        self, source: Source, target: Path, owner: str, tell: Tell, credential: Credential | None = None
    ) -> Cloned:
        """Makes the managed copy of a source at `target`, signed in with a credential where its host asks for one.

        A copy that is already there (an attempt that died after the move) is taken as it is.

        Raises:
            CloneFailed: with the reason that the asker is told.
        """
        await self._staging.sweep(owner)
        if (target / ".git").is_dir():
            return await self._inspect(target)
        async with self._staging.folder(owner) as staging:
            copy = staging / "repo"
            try:
                await self._clone(source, copy, tell, credential)
                await self._settle_branch(copy)
                cloned = await self._inspect(copy)
                await asyncio.to_thread(_move, copy, target)
            except OSError as error:
                raise CloneFailed(_disk_failure(error)) from error
        return Cloned(target, cloned.head_commit, cloned.default_branch, cloned.size_bytes)

    async def discard(self, target: Path, owner: str) -> None:
        """Takes a managed copy and what attempts have left of it off the disk."""
        await self._staging.sweep(owner)
        await asyncio.to_thread(remove_folder, target)

    async def _clone(self, source: Source, copy: Path, tell: Tell, credential: Credential | None) -> None:
        git, address = await self._way_to(source)
        said: list[str] = []
        args = (
            "clone",
            "--progress",
            "--no-local",
            "--template=",
            "--origin=origin",
            "--",
            address,
            str(copy),
        )
        try:
            async with asyncio.timeout(self._limits.seconds), offered(credential) as sign_in:
                started = git.start(*args, env=sign_in.env, settings=sign_in.settings, dies_with_service=True)
                async with started as process:
                    assert process.stderr is not None  # noqa: S101 - always piped
                    verdict = asyncio.ensure_future(self._guard.watch(copy.parent, process))
                    try:
                        await follow(process.stderr, said, tell)
                        status = await process.wait()
                    finally:
                        verdict.cancel()
                        over = await asyncio.gather(verdict, return_exceptions=True)
        except TimeoutError:
            raise CloneFailed(failure("timeout", f"more than {self._limits.seconds:g} s")) from None
        if isinstance(over[0], Failure):
            raise CloneFailed(over[0])
        if status != 0:
            text = "\n".join(said)
            raise CloneFailed(classify(credential.clean(text) if credential else text))
        if too_much := await self._guard.measure(copy.parent):
            raise CloneFailed(too_much)

    async def _way_to(self, source: Source) -> tuple[Git, str]:
        """The Git to use and the address to give it: only a local source may use the `file` transport."""
        if isinstance(source, LocalSource):
            await self._check_local(source.path)
            return replace(self._git, protocols=("file",)), str(source.path)
        return replace(self._git, protocols=self._protocols), source.url

    async def _check_local(self, path: Path) -> None:
        if not await asyncio.to_thread(path.is_dir):
            raise CloneFailed(failure("not_found", f"there is no folder {path}"))
        try:
            # A ceiling keeps Git from finding the repository of a folder further up.
            await self._git.output(
                "-C", str(path), "rev-parse", "--git-dir", env={"GIT_CEILING_DIRECTORIES": str(path.parent)}
            )
        except GitError:
            top = await self._top_of(path)
            hint = f"{path} is a folder inside the repository {top}: import that one" if top else f"{path} is none"
            raise CloneFailed(failure("not_a_repository", hint)) from None

    async def _top_of(self, path: Path) -> str | None:
        with contextlib.suppress(GitError):
            return await self._git.text("-C", str(path), "rev-parse", "--show-toplevel") or None
        return None

    async def _settle_branch(self, copy: Path) -> None:
        """A remote may name a branch that it does not have: then another of its branches is checked out."""
        at = Place(copy / ".git", work_tree=copy)
        if await self._commit(at, "HEAD"):
            return
        listed = await self._git.text("for-each-ref", "--format=%(refname:lstrip=3)", "refs/remotes/origin", at=at)
        branches = sorted(
            (name for name in listed.split("\n") if name and name != "HEAD"),
            key=lambda name: (name not in ("main", "master"), name),
        )
        if not branches:
            raise CloneFailed(failure("empty"))
        await self._git.output(
            "-C", str(copy), "checkout", "-q", "-B", branches[0], f"refs/remotes/origin/{branches[0]}",
            at=at, timeout=self._limits.seconds,
        )  # fmt: skip

    async def _commit(self, at: Place, name: str) -> str | None:
        try:
            return await self._git.text("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}", at=at)
        except GitTimeout:
            raise
        except GitError:
            return None

    async def _inspect(self, copy: Path) -> Cloned:
        at = Place(copy / ".git", work_tree=copy)
        head = await self._commit(at, "HEAD")
        if head is None:
            raise CloneFailed(failure("empty"))
        branch = await self._git.text("rev-parse", "--abbrev-ref", "HEAD", at=at)
        size, _ = await asyncio.to_thread(folder_size, copy)
        return Cloned(copy, head, branch, size)


def _move(copy: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        copy.rename(target)
    except OSError as error:
        # The same command was carried out twice at once and the other attempt was first: one copy is enough.
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise


def _disk_failure(error: OSError) -> Failure:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return failure("disk_full")
    return failure("failed", error.strerror or "")

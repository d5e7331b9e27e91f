"""Folders of agents that work in containers: one per session, outlasting its containers."""

import asyncio
import os
from pathlib import Path

from runyard_chassis.folders import remove_folder


class Homes:
    """The folder `<root>/<session>` of each session."""

    def __init__(self, root: Path, owner: str) -> None:
        self._root = root
        self._user, self._group = (int(part) for part in owner.split(":"))

    async def ensure(self, session_id: str) -> Path:
        """Sees to it that a session's folder is there and belongs to the container's user.

        Raises:
            OSError: the disk refuses.
        """
        return await asyncio.to_thread(self._ensure, session_id)

    async def exists(self, session_id: str) -> bool:
        """Whether a session has one."""
        return await asyncio.to_thread((self._root / session_id).is_dir)

    async def remove(self, session_id: str) -> None:
        """Removes it with all that the agent keeps there.

        Raises:
            OSError: the disk refuses.
        """
        await asyncio.to_thread(self._remove, session_id)

    async def all(self) -> list[str]:
        """The sessions that have one."""
        return await asyncio.to_thread(self._all)

    def _ensure(self, session_id: str) -> Path:
        self._root.mkdir(parents=True, exist_ok=True, mode=0o711)
        home = self._root / session_id
        home.mkdir(exist_ok=True, mode=0o700)
        if os.geteuid() == 0:
            # Only the folder itself: what is in it was made by the container's own user.
            os.chown(home, self._user, self._group)
        return home

    def _remove(self, session_id: str) -> None:
        remove_folder(self._root / session_id)

    def _all(self) -> list[str]:
        return sorted(entry.name for entry in self._root.iterdir()) if self._root.is_dir() else []


def owner_of(configured: str | None) -> str:
    """`uid:gid` that containers run as: as told, as this process, and never as root."""
    if configured:
        return configured
    return "10001:10001" if os.geteuid() == 0 else f"{os.geteuid()}:{os.getegid()}"

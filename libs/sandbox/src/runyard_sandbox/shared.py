"""Folders of this host on a platform that runs elsewhere: both see the same storage, below different names."""

import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from runyard_sandbox.provisioner import Mount, ProvisionFailed


@dataclass(frozen=True, slots=True)
class SharedFolder:
    """A folder of this host whose storage the platform has too; nothing outside it can be mounted there."""

    root: Path

    def below(self, mount: Mount) -> PurePosixPath:
        """The mount's place within the storage.

        Raises:
            ProvisionFailed: it lies outside, or is the whole storage, which holds what is other sessions'.
        """
        source, root = Path(os.path.normpath(mount.source)), Path(os.path.normpath(self.root))
        if not mount.source.is_absolute() or not source.is_relative_to(root):
            raise ProvisionFailed(f"{mount.source} is not in {root}, the only folder that the platform shares with us")
        if source == root:
            raise ProvisionFailed(f"{root} as a whole is not mounted: it holds the files of every session")
        return PurePosixPath(source.relative_to(root).as_posix())

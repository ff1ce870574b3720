"""The folder that raw data lie in, known again even if another one has its name by now."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from live_restore.errors import StackBusyError


@dataclass(frozen=True)
class RawFolder:
    """The folder that raw data lie in, known even if another folder has its name by now.

    Where a network share was there may be an empty folder of the local disk: a result made there
    would be hidden as soon as the share comes back.
    """

    folder: Path
    identity: tuple[int, int] | None

    @classmethod
    def of(cls, folder: Path) -> RawFolder:
        """Look at the folder as it is now."""
        return cls(folder, _identity(folder))

    def require(self) -> None:
        """Make sure that it is still there; raises ``StackBusyError``."""
        if self.identity is None or _identity(self.folder) != self.identity:
            raise StackBusyError(
                "its folder is gone, or another one has its name", self.folder,
                "check the disk or the network",
            )  # fmt: skip


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        status = folder.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino

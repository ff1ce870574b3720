"""The seam to the disk that results are written to: everything done to it for good is done here.

What must be on the disk when the power fails follows from the order of these calls alone (see
``publish.py``). Tests and fault drills put another :class:`Disk` in the place of ``current``.
"""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path
from typing import BinaryIO, cast

_WINDOWS = os.name == "nt"
# File systems without hard links (FAT, exFAT, many shares) refuse them in one of these ways.
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


class Disk:
    """The real disk; all methods raise ``OSError``."""

    def open(self, path: Path, mode: str) -> BinaryIO:
        """Open a file for writing (``mode`` as for ``Path.open``, binary)."""
        return cast("BinaryIO", path.open(mode))

    def sync(self, path: Path) -> None:
        """Wait until the content of a file is safe from a power failure."""
        with path.open("rb+") as file:
            os.fsync(file.fileno())

    def replace(self, temporary: Path, final: Path) -> None:
        """Give a file or folder its final name, in the place of a file that has it."""
        # On Windows a viewer or virus scanner that holds the old file makes this fail for a moment.
        for wait_s in (0.05, 0.2, 0.5):
            try:
                temporary.replace(final)
                return
            except PermissionError:
                if not _WINDOWS:
                    raise
                time.sleep(wait_s)
        temporary.replace(final)

    def give(self, temporary: Path, final: Path) -> None:
        """Give a file a name that is free; never in the place of a file that has it by now.

        Raises
        ------
        FileExistsError
            Somebody has it.
        """
        if _WINDOWS:
            temporary.rename(final)  # refuses by itself
            return
        try:
            os.link(temporary, final)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            # What is left is a moment between looking and renaming.
            if os.path.lexists(final):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(final)) from None
            temporary.replace(final)
            return
        temporary.unlink()

    def sync_folder(self, folder: Path) -> None:
        """Wait until the names in a folder are safe from a power failure."""
        if os.name != "posix":  # Windows cannot open folders, and orders renames itself
            return
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        except OSError as error:
            # Some network file systems cannot; the file is safe, and its name is published.
            if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
                raise
        finally:
            os.close(handle)

    def remove(self, path: Path) -> None:
        """Remove a file; raises ``FileNotFoundError`` where there is none."""
        path.unlink()


current = Disk()
"""What results are written through."""

"""Space on the disks that results go to: one that is full, or read-only, is left for growing waits.

A result must never take the last space of the disk that an acquisition writes to, so nothing is
begun where less than ``output.min_free_gb`` is free. What waits keeps its turn in the journal; the
disk is looked at again after 0.5 s, 1 s ... at most 10 s; it is reported once per half minute.
The same goes for a folder in which no file can be made: that is tried before the work, not after.
"""

from __future__ import annotations

import errno
import math
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from live_restore.engine.backoff import Backoff
from live_restore.engine.progress import Progress
from live_restore.errors import DiskFullError, OutputError, UnwritableError
from live_restore.files import disk
from live_restore.files.publish import FILE_REMEDY, file_in_the_place_of, temporary_for

_UNWRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR)
# Of a folder that could not be looked at.
_UNKNOWN = -1


@dataclass
class _Pause:
    """A disk that had no space, or a folder that takes nothing."""

    backoff: Backoff
    until: float = -math.inf


class DiskSpace:
    """Knows which disks are full; safe to use from any thread.

    Parameters
    ----------
    progress
        Told what a person should know.
    min_free_gb
        Space to leave on every disk (GB); 0: what there is may be used up.
    free_bytes
        Returns what is free where a folder lies (bytes).
    clock
        The time (monotonic s).
    """

    def __init__(
        self,
        progress: Progress,
        min_free_gb: float,
        free_bytes: Callable[[Path], int] = lambda folder: shutil.disk_usage(folder).free,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._progress = progress
        self._min_bytes = int(min_free_gb * 1e9)
        self._free_bytes = free_bytes
        self._clock = clock
        self._lock = threading.Lock()
        self._disks: dict[Path, int | Path] = {}
        self._pauses: dict[int | Path, _Pause] = {}
        self._written: set[Path] = set()

    def require(self, folder: Path, result_bytes: int = 0) -> None:
        """Make sure that a result may be begun in ``folder``, which need not exist yet.

        Raises
        ------
        DiskFullError
            Too little is free already; that disk rests for a while.
        OutputError
            Too little would be left after a result of this size; smaller ones may fit.
        UnwritableError
            No file can be made there; that folder rests for a while.
        """
        try:
            there = _existing(folder)
            device = there.stat().st_dev
            free = self._free_bytes(there)
        except OSError:
            return  # whoever writes there will say so
        with self._lock:
            self._disks[folder] = device
        if folder not in self._written:
            self._require_a_folder(folder)
            self._require_writable(folder, there)
        if free < self._min_bytes:
            error = DiskFullError(
                f"the disk has {free / 1e9:.1f} GB free, and {self._min_bytes / 1e9:g} GB are left "
                "for others",
                folder,
                "free some space on that disk, or set output.min_free_gb",
            )
            self.refused(folder, error)
            raise error
        if self._min_bytes and free < self._min_bytes + result_bytes:
            raise OutputError(
                f"needs {result_bytes / 1e9:.1f} GB, and would leave less than "
                f"{self._min_bytes / 1e9:g} GB of {free / 1e9:.1f} GB",
                folder,
                "free some space on that disk, or set output.min_free_gb",
            )

    def _require_a_folder(self, folder: Path) -> None:
        file = file_in_the_place_of(folder)
        if file is None:
            return
        error = UnwritableError(
            f"results cannot be written: {file} is a file, and no folder", file, FILE_REMEDY
        )
        with self._lock:
            self._disks[folder] = file
        self.refused(folder, error)
        raise error

    def _require_writable(self, folder: Path, there: Path) -> None:
        """Make a file and remove it; what is told of rights is not always true on a share."""
        probe = temporary_for(there / "probe")
        try:
            with disk.current.open(probe, "wb"):
                pass
            disk.current.remove(probe)
        except OSError as error:
            if error.errno not in _UNWRITABLE:
                return  # whoever writes there will say so
            unwritable = UnwritableError(
                f"results cannot be written to {there} ({error.strerror or error})",
                folder,
                "make that folder writable, or set output.template to another",
            )
            with self._lock:
                self._disks[folder] = there
            self.refused(folder, unwritable)
            raise unwritable from error
        self._written.add(folder)

    def doubt(self, folder: Path) -> None:
        """Something could not be written to ``folder``: try it before the next work."""
        self._written.discard(folder)

    def refused(self, folder: Path, error: DiskFullError | UnwritableError) -> None:
        """Let the disk of ``folder``, or the folder, rest longer than the last time."""
        with self._lock:
            which = self._disks.setdefault(folder, _UNKNOWN)
            pause = self._pauses.setdefault(
                which, _Pause(Backoff(self._progress, self._clock, what="the disk of results"))
            )
            if pause.until <= self._clock():  # else several in hand were refused together
                pause.until = self._clock() + pause.backoff.refused(error)

    def accepted(self, folder: Path) -> None:
        """A result has really been written to ``folder``."""
        with self._lock:
            pause = self._pauses.get(self._disks.get(folder, _UNKNOWN))
            if pause is not None:
                # Kept, so that a disk that is full now and then is not told of each time.
                pause.until = -math.inf
                pause.backoff.accepted()

    def any_rests(self) -> bool:
        """Return whether any disk rests just now."""
        with self._lock:
            return any(self._clock() < pause.until for pause in self._pauses.values())

    def is_resting(self, folder: Path) -> bool:
        """Return whether the disk of ``folder`` rests just now; looks at no disk."""
        with self._lock:
            pause = self._pauses.get(self._disks.get(folder, _UNKNOWN))
            return pause is not None and self._clock() < pause.until


def _existing(folder: Path) -> Path:
    """Return the folder, or the nearest one above it that exists."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder

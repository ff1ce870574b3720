"""Where the journal of a watched folder lives, and who else watches there."""

from __future__ import annotations

import hashlib
import os
import re
from itertools import islice
from pathlib import Path

from live_restore.errors import LiveRestoreError, UsageError, one_line
from live_restore.files.user_folders import state_folder
from live_restore.files.windows import is_network_drive
from live_restore.journal.database import lock_is_held, root_of

_MOST_JOURNALS = 500
_LONGEST_NAME = 40


def journal_path(root: Path, folder: Path | None = None) -> Path:
    """Return where the journal of a watched folder lives: on a local disk, never inside it.

    Raises
    ------
    UsageError
        ``folder`` is on a share: a database that several computers could open is soon damaged, and
        SQLite's write-ahead log does not work there.
    """
    if folder is not None and is_network_drive(folder):
        raise UsageError(
            "is on another computer, where a journal is not safe", folder,
            "set journal.folder to a folder on a disk of this computer",
        )  # fmt: skip
    resolved = os.path.normcase(root.resolve())
    digest = hashlib.sha256(os.fsencode(resolved)).hexdigest()[:16]
    return (folder or state_folder()) / f"{digest}.sqlite"


def forget_journal(path: Path) -> None:
    """Remove the journal of a folder that has just been made: it tells of another one.

    Raises
    ------
    LiveRestoreError
        It cannot be removed.
    """
    try:
        for name in (f"{path}-wal", f"{path}-shm", path):
            Path(name).unlink(missing_ok=True)
    except OSError as error:
        raise LiveRestoreError(
            f"the journal cannot be removed ({error.strerror or error})", path,
            "see what has it open, or name another folder",
        ) from error  # fmt: skip


def watched_near(root: Path, folder: Path | None) -> list[Path]:
    """Return the folders inside ``root`` or above it that were watched, the last one first.

    People ask for the folder beside the one that they let be watched.
    """
    found: list[tuple[float, Path]] = []
    for path in islice((folder or state_folder()).glob("*.sqlite"), _MOST_JOURNALS):
        name = root_of(path)[0]
        watched = Path(name)
        if name and watched.is_dir() and (root in watched.parents or watched in root.parents):
            found.append((path.stat().st_mtime, watched))
    return [watched for _, watched in sorted(found, reverse=True)]


def log_path(root: Path, journal: Path, ending: str = ".log") -> Path:
    """Return the log of a watched folder: beside its journal, and called after the folder.

    Examples
    --------
    >>> log_path(Path("/data/cells, day 2"), Path("/state/0a1b.sqlite")).as_posix()
    '/state/cells-day-2-0a1b.log'
    """
    plain = re.sub(r"\W+", "-", root.name or root.drive).strip("-")[:_LONGEST_NAME]
    return journal.with_name(f"{plain or 'root'}-{journal.stem}{ending}")


def other_watcher(root: Path, folder: Path | None, *, recursive: bool) -> Path | str | None:
    """Return a folder above or inside ``root`` that a living process watches, or ``None``.

    Two that watch a folder and its sub-folder would both restore everything in the latter.
    ``recursive`` says whether ``root`` is watched with its sub-folders.
    """
    own = journal_path(root, folder)
    for parent in root.parents:
        path = journal_path(parent, folder)
        if lock_is_held(path) and root_of(path)[1]:
            return parent
    if not recursive:
        return None
    inside = one_line(root).rstrip(os.sep) + os.sep
    for path in own.parent.glob("*.sqlite"):
        if path != own and lock_is_held(path):
            watched, _ = root_of(path)
            if os.path.normcase(watched).startswith(os.path.normcase(inside)):
                return watched
    return None

"""Where raw data lie, known again even if something else has their name, or they another one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from stat import S_ISDIR, S_ISREG

from live_restore.errors import StackBusyError, StackRenamedError
from live_restore.sources.passed_by import is_ignored
from live_restore.stack import Fingerprint

_MOST_NAMES = 10_000
"""In a folder that are looked at, for the one that something has got."""


@dataclass(frozen=True)
class RawFolder:
    """The folder that raw data lie in, known even if another folder has its name by now.

    Where a network share was there may be an empty folder of the local disk: a result made there
    would be hidden as soon as the share comes back.

    ``raw`` is the identity of the file, or acquisition, itself; ``None`` where nobody would find
    it under another name.
    """

    folder: Path
    identity: tuple[int, int] | None
    raw: tuple[int, int] | None = None

    @classmethod
    def of(cls, raw: Path, root: Path | None = None) -> RawFolder:
        """Look at the folder of ``raw`` as it is now; ``root`` is watched, or nothing is."""
        watched = root is not None and root in raw.parents
        return cls(raw.parent, identity_of(raw.parent), identity_of(raw) if watched else None)

    def require(self) -> None:
        """Make sure that it is still there; raises ``StackBusyError``."""
        if self.identity is None or identity_of(self.folder) != self.identity:
            raise StackBusyError(
                "its folder is gone, or another one has its name", self.folder,
                "check the disk or the network",
            )  # fmt: skip

    def require_not_renamed(self, raw: Path, is_raw_name: Callable[[str], bool]) -> None:
        """Make sure that ``raw``, which is not there, has no other name in its folder by now.

        A result that was made under its former name would lie beside those that were renamed with
        it, and be made once more. ``is_raw_name``: whether it would be found under a name that is
        not hidden.

        Raises
        ------
        StackRenamedError
            It has.
        """
        name = None if self.raw is None else name_of(self.folder, self.raw)
        if name is not None and not is_ignored(name) and is_raw_name(name):
            raise StackRenamedError(f"was renamed to {name}; it is restored under that name", raw)


def is_there(folder: Path) -> bool:
    """Return whether a folder is there.

    Raises
    ------
    StackBusyError
        It cannot be looked at: on a share that does not answer, nothing is gone.
    """
    try:
        return S_ISDIR(folder.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise not_looked_at(folder, error) from error


def not_looked_at(path: Path, error: OSError) -> StackBusyError:
    """Return why nothing is known of a path just now: its disk or share refused to tell."""
    return StackBusyError(
        f"cannot be looked at ({error.strerror or error})", path, "check the disk or the network"
    )


def identity_of(path: Path) -> tuple[int, int] | None:
    """Return what a file or folder keeps when it is renamed, ``None`` where nothing is there."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def name_of(folder: Path, identity: tuple[int, int]) -> str | None:
    """Return the name that something has in a folder by its identity; ``None`` for none."""
    for entry in _names_in(folder):
        if entry.inode() == identity[1] and identity_of(Path(entry.path)) == identity:
            return entry.name
    return None


def name_of_file(folder: Path, fingerprint: Fingerprint) -> str | None:
    """Return the name of a file of this size and time in a folder; ``None`` for none."""
    for entry in _names_in(folder):
        with suppress(OSError):  # gone since it was listed
            status = Path(entry.path).lstat()
            same = S_ISREG(status.st_mode) and Fingerprint.of(status) == fingerprint
            if same and not is_ignored(entry.name):
                return entry.name
    return None


def _names_in(folder: Path) -> Iterator[os.DirEntry[str]]:
    """Yield what is in a folder, not without end; nothing of one that cannot be listed."""
    with suppress(OSError), os.scandir(folder) as entries:
        yield from islice(entries, _MOST_NAMES)

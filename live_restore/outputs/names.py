"""Whether the name of a result is taken, and whether a disk can have it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from live_restore.errors import OutputError, StackRefusedError
from live_restore.files.reading import holds_nothing

_LONGEST_NAME = 255
"""Of NTFS, APFS (UTF-16 units), ext4 and XFS (bytes)."""


def is_there(path: Path, source: Path) -> bool:
    """Return whether anything has that name, be it a link that leads nowhere.

    Raises
    ------
    StackRefusedError
        It is too long a name; ``source`` is named.
    OutputError
        It cannot be looked at.
    """
    if _name_length(path) > _LONGEST_NAME:  # told before the work; the folder may not exist yet
        raise _too_long(path, source)
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise _too_long(path, source) from error
        raise OutputError(
            f"cannot be looked for ({error.strerror or error})",
            path,
            "make its folder readable, or set output.template to another",
        ) from error
    return True


def _name_length(path: Path) -> int:
    """Return the length of a name as file systems count it."""
    if os.name == "nt":
        return len(path.name.encode("utf-16-le", "surrogatepass")) // 2
    return len(os.fsencode(path.name))


def _too_long(path: Path, source: Path) -> StackRefusedError:
    return StackRefusedError(
        f"its result would have too long a name ({len(path.name)} characters)",
        source,
        "shorten the name",
    )


def is_emptied(path: Path) -> bool:
    """Return whether there is a file at ``path`` that holds nothing of anybody's."""
    return path.is_file() and holds_nothing(path)

"""Careful reading of other programs' files: read-only, bounded, one kind of error."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from live_restore.errors import StackBusyError, StackChangedError, StackUnreadableError

MAX_PLANE_JSON = 2 * 2**20
"""Bytes of one plane's metadata; Micro-Manager writes 6 to 40 kB."""
MAX_SUMMARY_JSON = 8 * 2**20
"""Bytes of a run's metadata; 10 to 20 kB plus about 300 bytes for each position."""
MAX_ENTRIES = 2_000_000
"""Files in one folder that are looked at."""
_BLANK_PROBE = 4096


def _busy(path: Path, error: OSError) -> StackBusyError:
    return StackBusyError(
        f"cannot be read just now ({error.strerror or error})",
        path,
        "nothing to do: it is tried again; if it stays so, check permissions and network",
    )


@contextmanager
def opened(path: Path) -> Iterator[tuple[BinaryIO, int]]:
    """Open a regular file read-only; give the stream (unbuffered) and its size in bytes.

    Raises
    ------
    StackChangedError
        It is not there.
    StackBusyError
        It is there and cannot be read.
    """
    try:
        # A named pipe would block for ever.
        if not stat.S_ISREG(path.stat().st_mode):
            raise StackUnreadableError("not a regular file", path, "leave it out of the folder")
        with path.open("rb", buffering=0) as stream:
            yield stream, os.fstat(stream.fileno()).st_size
    except FileNotFoundError as error:
        raise StackChangedError("the file vanished", path, "put it back") from error
    except OSError as error:
        raise _busy(path, error) from error


def read_at(stream: BinaryIO, at: int, count: int) -> bytes:
    """Return ``count`` bytes from ``at``, fewer where the file ends."""
    stream.seek(at)
    data = stream.read(count)
    while 0 < len(data) < count:
        more = stream.read(count - len(data))
        if not more:
            break
        data += more
    return data


def names_in(folder: Path) -> tuple[list[str], list[str]]:
    """Return the names of the files and of the folders in ``folder``, sorted; links not followed.

    Raises
    ------
    StackChangedError
        The folder is not there.
    StackBusyError
        It cannot be listed.
    """
    files: list[str] = []
    folders: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for number, entry in enumerate(entries):
                if number >= MAX_ENTRIES:
                    raise StackUnreadableError(
                        f"holds more than {MAX_ENTRIES:,} files", folder, "split the acquisition"
                    )
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.name)
                elif entry.is_file(follow_symlinks=False):
                    files.append(entry.name)
    except FileNotFoundError as error:
        raise StackChangedError("the folder vanished", folder, "put it back") from error
    except OSError as error:
        raise _busy(folder, error) from error
    return sorted(files), sorted(folders)


def is_blank(stream: BinaryIO, at: int, count: int) -> bool:
    """Return whether these bytes are all zero; real images answer after the first 4 kB."""
    while count > 0:
        data = read_at(stream, at, min(count, _BLANK_PROBE))
        if not data or any(data):
            return False
        at, count = at + len(data), count - len(data)
    return True

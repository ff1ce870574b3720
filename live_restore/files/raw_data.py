"""Reading what a microscope's programs write: read-only, bounded, all errors ``StackError``.

Opening a file without being kept waiting is ``reading.py``, which also serves models and results;
here are the errors, the limits and the memory that belong to raw data.
"""

from __future__ import annotations

import errno
import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
import psutil

from live_restore.errors import (
    StackBusyError,
    StackChangedError,
    StackError,
    StackRefusedError,
    StackUnreadableError,
)
from live_restore.files.reading import open_regular
from live_restore.files.recycled import empty_volume, recycled_volume
from live_restore.files.windows import LONG_PATHS_REMEDY, SHARING_VIOLATION, too_long
from live_restore.stack import Volume

MAX_PLANE_JSON = 2 * 2**20
"""Bytes of one plane's metadata; Micro-Manager writes 6 to 40 kB."""
MAX_SUMMARY_JSON = 8 * 2**20
"""Bytes of an acquisition's metadata; 10 to 20 kB plus about 300 bytes for each position."""
MAX_ENTRIES = 2_000_000
"""Files in one folder that are looked at."""
_WINDOWS = os.name == "nt"
_FIRST_PROBE_BYTES = 4096
_PROBE_BYTES = 2**18
_ALWAYS_FITS = 64 * 2**20


@contextmanager
def opened(
    path: Path, *, follow_link: bool = False, buffered: bool = False
) -> Iterator[tuple[BinaryIO, int]]:
    """Open a regular file read-only; give the stream and its size in bytes.

    Links are not followed unless asked for: what lies in an acquisition's folder may be anybody's.

    Raises
    ------
    StackUnreadableError
        It is a pipe, a device, a folder, or a link that is not followed or leads nowhere.
    StackChangedError
        It is not there.
    StackBusyError
        It is there and cannot be read just now; also while the block runs.
    """
    is_open = False
    try:
        with open_regular(path, follow_link=follow_link, buffered=buffered) as stream:
            is_open = True
            yield stream, os.fstat(stream.fileno()).st_size
    except (FileNotFoundError, NotADirectoryError) as error:
        if length := too_long(path):
            raise StackBusyError(f"cannot be opened: {length}", path, LONG_PATHS_REMEDY) from error
        raise StackChangedError("the file vanished", path, "put it back") from error
    except PermissionError as error:
        if is_open and _WINDOWS:
            # Rights are checked when a file is opened. Python's own reading gives no winerror.
            raise _locked(path) from error
        raise _refusal(error, path, followed=follow_link) from error
    except OSError as error:
        raise _refusal(error, path, followed=follow_link) from error


def _refusal(error: OSError, path: Path, *, followed: bool = True) -> StackError:
    """Return what a refusal of the operating system says about a file or folder.

    None of it is about its content, and nearly all of it passes: a virus scanner lets go, a share
    comes back, somebody corrects the rights.
    """
    if error.errno == errno.EINVAL or (error.errno == errno.ELOOP and not followed):
        return StackUnreadableError("not a regular file", path, "leave it out of the folder")
    if error.errno in (errno.ELOOP, errno.ENAMETOOLONG):
        return StackUnreadableError(f"cannot be opened ({error.strerror})", path, "check its name")
    if getattr(error, "winerror", None) in SHARING_VIOLATION:
        return _locked(path)
    if isinstance(error, PermissionError):
        return StackBusyError("no permission to read it", path, "give this user the right to")
    return StackBusyError(
        f"reading failed ({error.strerror or error})", path, "check the disk or the network"
    )


def _locked(path: Path) -> StackBusyError:
    return StackBusyError("another program holds it locked", path, "close it there")


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
        raise _refusal(error, folder) from error
    return sorted(files), sorted(folders)


def stored_from(stream: BinaryIO, at: int) -> int:
    """Return where bytes are stored at or after ``at``: what lies before is a hole, thus zeros.

    A file of terabytes that holds nothing costs nothing to make, and hours to read.
    """
    try:
        handle = stream.fileno()
        before = os.lseek(handle, 0, os.SEEK_CUR)
    except OSError:
        return at
    try:
        return os.lseek(handle, at, os.SEEK_DATA)
    except (OSError, AttributeError) as error:
        # Nothing is stored behind; or the system cannot tell.
        return sys.maxsize if getattr(error, "errno", 0) == errno.ENXIO else at
    finally:
        os.lseek(handle, before, os.SEEK_SET)


def new_volume(shape: tuple[int, ...], dtype: np.dtype[np.generic], path: Path) -> Volume:
    """Return an array for a stack, unless this computer has too little memory for it.

    Raises
    ------
    StackRefusedError
        It will never fit.
    StackBusyError
        It does not fit just now.
    """
    recycled = recycled_volume(shape, dtype)  # before asking: what waits in vain is free by then
    if recycled is not None:
        return recycled
    needed = math.prod(shape) * dtype.itemsize
    memory = psutil.virtual_memory() if needed > _ALWAYS_FITS else None
    what = f"a stack of {' x '.join(map(str, shape))} voxels takes {needed / 2**30:.1f} GiB"
    if memory is not None and needed > memory.total:
        raise StackRefusedError(
            f"{what}, more than this computer has", path, "restore it on a larger one"
        )
    try:
        if memory is None or needed <= memory.available:
            return empty_volume(shape, dtype)
    except MemoryError:
        pass
    raise StackBusyError(f"{what}, more than is free", path, "close other programs")


def is_blank(stream: BinaryIO, at: int, count: int) -> bool:
    """Return whether these bytes are all zero; real images answer after the first 4 kB."""
    end = at + count
    probe = _FIRST_PROBE_BYTES
    while (at := max(at, min(end, stored_from(stream, at)))) < end:
        data = read_at(stream, at, min(end - at, probe))
        if not data or any(data):
            return False
        at += len(data)
        probe = _PROBE_BYTES
    return True

"""Opens files that anybody may have put there: regular ones, without waiting, to a limit.

A named pipe blocks whoever opens it until somebody writes to it, a device gives bytes for ever, and
a link leads anywhere.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from pathlib import Path
from typing import BinaryIO

from live_restore.files.windows import open_shared

_NO_WAIT = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


def open_regular(path: Path, *, follow_link: bool = True, buffered: bool = False) -> BinaryIO:
    """Return a regular file, open for reading.

    Raises
    ------
    OSError
        ``EINVAL`` where it is a pipe, a device, a socket or a folder; ``ELOOP`` where it is a link
        that is not to be followed; or whatever the system says.
    """
    # Looked at first: to open a device can make it do something.
    _require_regular(os.stat(path, follow_symlinks=follow_link).st_mode, path)  # noqa: PTH116
    flags = os.O_RDONLY | _NO_WAIT
    if not follow_link:
        flags |= getattr(os, "O_NOFOLLOW", 0)
    # Whoever writes the file may rename or delete it meanwhile, on Windows too.
    handle = open_shared(path) if sys.platform == "win32" else os.open(path, flags)
    try:
        # And once more: it may have been replaced since.
        _require_regular(os.fstat(handle).st_mode, path)
        return open(handle, "rb", buffering=-1 if buffered else 0)  # noqa: PTH123 - not a path
    except BaseException:
        os.close(handle)
        raise


def append_regular(path: Path) -> BinaryIO:
    """Return a regular file, open for appending, unbuffered; it is made where there is none.

    Raises
    ------
    OSError
        As of :func:`open_regular`, and where it is a link: somebody else's file would grow.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | _NO_WAIT | getattr(os, "O_NOFOLLOW", 0)
    handle = os.open(path, flags, 0o666)
    try:
        _require_regular(os.fstat(handle).st_mode, path)
        return open(handle, "ab", buffering=0)  # noqa: PTH123 - not a path
    except BaseException:
        os.close(handle)
        raise


def read_regular(path: Path, limit: int) -> bytes:
    """Return what a regular file holds, at most ``limit`` bytes.

    Raises
    ------
    OSError
        As of :func:`open_regular`; ``EFBIG`` where it is larger.
    """
    with open_regular(path) as stream:
        if os.fstat(stream.fileno()).st_size > limit:
            raise OSError(errno.EFBIG, f"larger than {limit:,} bytes", str(path))
        parts, left = [], limit + 1
        while left > 0 and (data := stream.read(left)):
            parts.append(data)
            left -= len(data)
    if left <= 0:
        raise OSError(errno.EFBIG, f"larger than {limit:,} bytes", str(path))
    return b"".join(parts)


def _require_regular(mode: int, path: Path) -> None:
    if stat.S_ISLNK(mode):
        raise OSError(errno.ELOOP, "a symbolic link", str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "not a regular file", str(path))


_MOST_EMPTY_FOLDERS = 1000
"""That are looked into for a file; an image that was emptied has a handful."""


def holds_nothing(path: Path) -> bool:
    """Return whether there is certainly no image at ``path``.

    There is nothing, or an empty file, or a folder without a file.
    """
    try:
        found = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except (OSError, ValueError):  # a share that does not answer, or no name: nothing is known
        return False
    if stat.S_ISDIR(found.st_mode):
        return _has_no_file(path)
    return stat.S_ISREG(found.st_mode) and found.st_size == 0


def _has_no_file(folder: Path) -> bool:
    """Return whether there are certainly folders only below one."""
    left, looked_into = [os.fspath(folder)], 0
    try:
        while left:
            looked_into += 1
            if looked_into > _MOST_EMPTY_FOLDERS:
                return False
            with os.scandir(left.pop()) as entries:
                for entry in entries:
                    if not entry.is_dir(follow_symlinks=False):
                        return False
                    left.append(entry.path)
    except (OSError, ValueError):  # as above
        return False
    return True

"""Atomic publication: a final name never holds a partial file.

Order: temporary file in the same folder, write, flush, fsync, read back and check, rename, fsync
the folder. Whoever looks at a final name sees the old file, no file, or the whole new one.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from live_restore.errors import OutputError
from live_restore.outputs.naming import TEMPORARY_SUFFIX

_WINDOWS = os.name == "nt"
_PROCESS = re.compile(r"[0-9]{1,9}")


@contextmanager
def publishing(final: Path, check: Callable[[Path], None] | None = None) -> Iterator[Path]:
    """Give a temporary path to write to; when the block ends well, it becomes ``final``.

    Parameters
    ----------
    final
        The name to publish under; its folder is created.
    check
        Reads the temporary file back, after it is safely on disk; raises ``OutputError`` if it is
        not what was meant.

    Raises
    ------
    OutputError
        Anything that the disk refused, with what to do about it. The temporary file is removed.
    """
    # Only the beginning of the name: the whole one may be as long as names can be.
    temporary = final.with_name(
        f".{final.name[:30]}.{os.getpid()}-{secrets.token_hex(4)}{TEMPORARY_SUFFIX}"
    )
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _sync_file(temporary)
        if check is not None:
            check(temporary)
        _replace(temporary, final)
        _sync_folder(final.parent)
    except OSError as error:
        raise OutputError(_say(error), final, _remedy(error)) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def publish_text(final: Path, text: str) -> None:
    """Publish a small text file (UTF-8) atomically.

    What no UTF-8 can say (undecodable bytes of a file name) is written as JSON escapes it.
    """
    with publishing(final) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def remove_leftovers(folder: Path) -> list[Path]:
    """Remove temporary files that dead processes left in ``folder``; return what was removed."""
    import psutil

    removed = []
    for path in folder.glob(f".*{TEMPORARY_SUFFIX}"):
        owner = path.name.removesuffix(TEMPORARY_SUFFIX).rpartition(".")[2].partition("-")[0]
        if not _PROCESS.fullmatch(owner):
            continue
        if int(owner) == os.getpid() or not psutil.pid_exists(int(owner)):
            with contextlib.suppress(OSError):
                path.unlink()
                removed.append(path)
    return removed


def _sync_file(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":  # Windows cannot open folders, and orders renames itself
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        # Some network file systems cannot; the file itself is safe, and its name is published.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(handle)


def _replace(temporary: Path, final: Path) -> None:
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


def _say(error: OSError) -> str:
    return f"cannot be written ({error.strerror or error})"


def _remedy(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "free some space on that disk; it will be tried again"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "make its folder writable, or set output.template to another; it will be tried again"
    if error.errno == errno.ENAMETOOLONG:
        return "shorten the raw file's name"
    return "check that disk; it will be tried again"

"""Atomic publication: a final name never holds a partial file.

Order: temporary file in the same folder, write, flush, fsync, read back and check, rename, fsync
the folder. Whoever looks at a final name sees the old file, no file, or the whole new one, also
after a power failure: the content is safe before its name is given, and every name is safe before
the next one that rests on it (folder, image, report, the journal's "done") is given. A test plays
every power failure that this order allows.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import os
import re
import secrets
import shutil
import socket
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from live_restore.errors import DiskFullError, OutputError
from live_restore.files import disk
from live_restore.files.naming import TEMPORARY_SUFFIX
from live_restore.files.reading import holds_nothing
from live_restore.files.windows import LONG_PATHS_REMEDY, SHARING_VIOLATION, too_long

# Names given by earlier versions have no host.
_OWNER = re.compile(
    rf"\.(?:(?P<host>[0-9a-f]{{8}})-)?(?P<process>[0-9]{{1,9}})-[0-9a-f]+{re.escape(TEMPORARY_SUFFIX)}\Z",
    re.ASCII,
)
_FOREIGN_LEFTOVER_S = 24 * 3600.0
# No space, or no more of one's quota.
_FULL = (errno.ENOSPC, errno.EDQUOT)
FILE_REMEDY = "move or rename that file, or set output.template to another folder"


@contextmanager
def publishing(
    final: Path,
    check: Callable[[Path], None] | None = None,
    *,
    aside: Path | None = None,
    free: bool = False,
    beside: bool = False,
) -> Iterator[Path]:
    """Give a temporary path to write to; when the block ends well, it becomes ``final``.

    Parameters
    ----------
    final
        The name to publish under; its folder is created, but for ``beside``.
    check
        Reads the temporary file back, after it is safely on disk; raises ``OutputError`` if it is
        not what was meant.
    aside
        Folder on the same disk for the temporary file, if not that of ``final``.
    free
        The name was free when it was chosen: what has got it since is somebody else's, and stays.
    beside
        It belongs to a file that is in that folder: without the folder that one is gone, too, as a
        share goes away, and where it was nothing may be made.

    Raises
    ------
    OutputError
        Anything that the disk refused, with what to do about it. The temporary file is removed.
    """
    temporary = temporary_for(final, aside)
    try:
        with disk_errors(final):
            if not beside:
                make_folder(final.parent)
            yield temporary
            disk.current.sync(temporary)
            if check is not None:
                check(temporary)
            (disk.current.give if free else disk.current.replace)(temporary, final)
            disk.current.sync_folder(final.parent)
    finally:
        with contextlib.suppress(OSError):
            disk.current.remove(temporary)


@contextmanager
def disk_errors(final: Path) -> Iterator[None]:
    """Report what the disk refuses while ``final`` is made, and what to do about it.

    Raises
    ------
    OutputError
        In the place of every ``OSError``; ``DiskFullError`` where there is no space.
    """
    try:
        yield
    except OSError as error:
        kind = DiskFullError if error.errno in _FULL else OutputError
        # What is written first has a longer name than the result.
        if isinstance(error, FileNotFoundError) and (length := too_long(temporary_for(final))):
            raise kind(f"cannot be written: {length}", final, LONG_PATHS_REMEDY) from error
        if (file := file_in_the_place_of(final.parent)) is not None:
            what = f"cannot be written: {file} is a file, and no folder"
            raise kind(what, final, FILE_REMEDY) from error
        raise kind(_what(error), final, _remedy(error)) from error


def temporary_for(final: Path, aside: Path | None = None) -> Path:
    """Return a hidden name that no other process takes, beside ``final`` or in ``aside``."""
    # Only the beginning of the name: the whole one may be as long as names can be.
    name = f".{final.name[:30]}.{_host()}-{os.getpid()}-{secrets.token_hex(4)}{TEMPORARY_SUFFIX}"
    return (aside or final.parent) / name


def publish_folder(temporary: Path, final: Path) -> None:
    """Give a folder, whose files are safely on disk, its final name; raises ``OSError``.

    A folder of that name in which no file is left goes.
    """
    disk.current.sync_folder(temporary)
    if final.is_dir() and holds_nothing(final):
        for emptied, _, _ in os.walk(final, topdown=False):
            Path(emptied).rmdir()  # which takes nobody's file
    disk.current.replace(temporary, final)
    disk.current.sync_folder(final.parent)


def publish_text(final: Path, text: str, *, free: bool = False, beside: bool = False) -> None:
    """Publish a small text file (UTF-8) atomically; options are those of :func:`publishing`.

    What no UTF-8 can say (undecodable bytes of a file name) is written as JSON escapes it.
    """
    with (
        publishing(final, free=free, beside=beside) as temporary,
        disk.current.open(temporary, "wb") as file,
    ):
        file.write(text.encode("utf-8", errors="backslashreplace"))


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, safe from a power failure.

    Raises
    ------
    NotADirectoryError
        A file has its name.
    OSError
        Whatever else the disk refused.
    """
    missing = []
    above = folder
    # The root of a drive or share that is not there has only itself above it.
    while not above.exists() and above != above.parent:
        missing.append(above)
        above = above.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder)) from error
    for made in reversed(missing):
        disk.current.sync_folder(made.parent)


def file_in_the_place_of(folder: Path) -> Path | None:
    """Return the file that keeps ``folder`` from being made, ``None`` where there is none."""
    for path in (folder, *folder.parents):
        try:
            return None if stat.S_ISDIR(path.stat().st_mode) else path
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError:
            return None
    return None


def remove_for_good(path: Path) -> None:
    """Remove a file, if there is one, before anything else is done; raises ``OSError``."""
    try:
        disk.current.remove(path)
    except FileNotFoundError:
        return
    disk.current.sync_folder(path.parent)


def remove_leftovers(folder: Path) -> list[Path]:
    """Remove what dead processes left half-written in ``folder``; return what was removed.

    Whether a process of another computer is alive (the folder may be shared) cannot be told: what
    it writes is removed once nothing has been written to it for a day.
    """
    removed = []
    for path in folder.glob(f".*{TEMPORARY_SUFFIX}"):
        owner = _OWNER.search(path.name)
        if owner is None:
            continue
        with contextlib.suppress(OSError):
            if _is_left(path, owner["host"], int(owner["process"])):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
                removed.append(path)
    return removed


def _is_left(path: Path, host: str, process: int) -> bool:
    """Return whether nobody is writing to a temporary file any more."""
    import psutil

    if host == _host():
        return process == os.getpid() or not psutil.pid_exists(process)
    return time.time() - path.stat().st_mtime > _FOREIGN_LEFTOVER_S


def system_identity() -> str:
    """Return an identity (hex) of the system within which a process number means one process."""
    return _host()


@functools.cache
def _host() -> str:
    """Return an identity (hex) of the system within which a process number means one process.

    Computers may share a name, and containers a boot; a name of its own, the boot and the space of
    process numbers together tell them apart.
    """
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip())
    with contextlib.suppress(OSError):
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:8]


def _what(error: OSError) -> str:
    if error.errno == errno.EEXIST:
        return "was given to another file meanwhile"
    return f"cannot be written ({error.strerror or error})"


def _remedy(error: OSError) -> str:
    if error.errno in _FULL:
        return "free some space on that disk"
    if getattr(error, "winerror", None) in SHARING_VIOLATION:
        return "close the program that has it open"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        if os.name == "nt":
            # Windows says the same of a result that a viewer has open, and that cannot be replaced.
            return "close what has it open, or make its folder writable, or set output.template"
        return "make its folder writable, or set output.template to another"
    if error.errno == errno.EEXIST:
        return "nothing to do: the result gets another name"
    if error.errno == errno.ENAMETOOLONG:
        return "shorten the raw file's name"
    return "check that disk"

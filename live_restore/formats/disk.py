"""Careful reading of other programs' files: read-only, bounded, one kind of error."""

from __future__ import annotations

import json
import math
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from live_restore.errors import StackBusyError, StackChangedError, StackUnreadableError

MAX_PLANE_JSON = 2 * 2**20
"""Bytes of one plane's metadata; Micro-Manager writes 6 to 40 kB."""
MAX_SUMMARY_JSON = 8 * 2**20
"""Bytes of a run's metadata; 10 to 20 kB plus about 300 bytes for each position."""
MAX_ENTRIES = 2_000_000
"""Files in one folder that are looked at."""
_BLANK_PROBE = 4096


class NotJsonError(Exception):
    """A text is no JSON object; while it is being written that is nothing unusual."""


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


def json_object(data: bytes | str) -> dict[str, Any]:
    """Return a JSON object; the caller has bounded its size.

    Raises
    ------
    NotJsonError
        It is something else, or torn, or nested without end.
    """
    try:
        text = data.rstrip(b"\0 \r\n\t").decode() if isinstance(data, bytes) else data
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise NotJsonError(str(error)) from error
    if not isinstance(value, dict):
        raise NotJsonError("no object")
    return value


def number(value: object) -> float | None:
    """Return a finite number; Micro-Manager writes some as text.

    Examples
    --------
    >>> number("1.5"), number(2), number("x"), number(True), number(float("nan"))
    (1.5, 2.0, None, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        result = float(value)
    except (ValueError, OverflowError):
        return None
    return result if math.isfinite(result) else None


def integer(value: object) -> int | None:
    """Return an index or a count, 0 to 2**31 - 1.

    Examples
    --------
    >>> integer(3), integer("3"), integer(-1), integer(1.5), integer(2**31)
    (3, 3, None, None, None)
    """
    result = number(value)
    if result is None or result != int(result) or not 0 <= result < 2**31:
        return None
    return int(result)


def positive(value: object) -> float | None:
    """Return a number above zero (Micro-Manager writes 0 for a pixel size that nobody set)."""
    result = number(value)
    return result if result is not None and result > 0 else None


def text(value: object, limit: int = 200) -> str:
    """Return a label: text of at most ``limit`` characters, empty where there is none."""
    return value[:limit] if isinstance(value, str) else ""

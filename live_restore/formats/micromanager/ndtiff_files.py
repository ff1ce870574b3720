"""The files of an NDTiff acquisition: their names, and the entries of its index.

Layout: NDTiff specification, and measured on versions 3.0 to 3.3 of both writers.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from live_restore.errors import StackError
from live_restore.files.raw_data import opened, read_at
from live_restore.formats.micromanager.plane import UnusableError
from live_restore.formats.own_files import begins_with

INDEX = "NDTiff.index"
FULL_RESOLUTION = "Full resolution"
"""Version 2, and tiled acquisitions, keep the images in a folder of this name."""

NAME = re.compile(r"(?P<stem>.*NDTiffStack)(?:_(?P<number>\d{1,6}))?\.tiff?", re.DOTALL)

MAGIC = 483729
SUMMARY = 2355492
MAX_AXES_BYTES = 64 * 1024
MAX_NAME_BYTES = 4096


def stem_of(name: str) -> str | None:
    """Return what all NDTiff files of one acquisition begin with, ``None`` for other files."""
    match = NAME.fullmatch(name)
    return match["stem"] if match else None


def stems_in(folder_name: str) -> tuple[str, str]:
    """Return what the files in a folder begin with: pycromanager leaves the number out.

    >>> stems_in("run_1")
    ('run_1_NDTiffStack', 'run_NDTiffStack')
    """
    return f"{folder_name}_NDTiffStack", f"{re.sub(r'_[0-9]+$', '', folder_name)}_NDTiffStack"


def file_number(name: str) -> int:
    """Return which of an acquisition's files this is, from 0, in the order of their writing."""
    match = NAME.fullmatch(name)
    return int(match["number"] or 0) if match else 0


def indexed_stems(index: Path) -> set[str]:
    """Return what the files begin with that an index names first."""
    try:
        with opened(index) as (stream, _):
            data = read_at(stream, 0, MAX_AXES_BYTES + MAX_NAME_BYTES + 64)
        entries = [entry for _, entry, _ in islice(parse_index(data), 1)]
    except (StackError, UnusableError):
        return set()
    return {stem for entry in entries if (stem := stem_of(entry.file))}


def is_genuine(path: Path) -> bool:
    """Return whether a writer of NDTiff has begun this file, or reserved space for it."""
    return begins_with(path, MAGIC)


class Entry(NamedTuple):
    """One entry of the index."""

    axes: bytes
    file: str
    pixels_at: int
    width: int
    height: int
    pixel_type: int
    compression: int
    metadata_at: int
    metadata_bytes: int
    metadata_compression: int


def parse_index(data: bytes) -> Iterator[tuple[int, Entry, int]]:
    """Yield where each whole entry begins, the entry, and where it ends.

    Raises
    ------
    UnusableError
        What follows cannot be an entry.
    """
    at = 0
    while at + 4 <= len(data):
        start = at
        (length,) = struct.unpack_from("<I", data, at)
        if length == 0:  # reserved space
            return
        if length > MAX_AXES_BYTES:
            raise UnusableError(f"an index entry claims axes of {length} bytes")
        at += 4 + length
        if at + 4 > len(data):
            return
        (name_length,) = struct.unpack_from("<I", data, at)
        if name_length > MAX_NAME_BYTES:
            raise UnusableError(f"an index entry claims a file name of {name_length} bytes")
        name_at = at + 4
        at = name_at + name_length
        if at + 32 > len(data):
            return
        name = data[name_at:at].decode(errors="replace")
        numbers = struct.unpack_from("<8I", data, at)
        at += 32
        yield start, Entry(data[start + 4 : start + 4 + length], name, *numbers), at

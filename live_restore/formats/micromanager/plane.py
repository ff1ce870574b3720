"""One plane as Micro-Manager's own TIFF writers leave it: directory, pixels, metadata.

Image stack files and NDTiff files are written by kin: little TIFF directories at known offsets,
one uncompressed strip each, and the image's metadata as JSON in a private tag, written last. So a
plane counts when its directory is whole and the JSON behind the pixels parses; nothing else in the
file is looked at, as large parts of it are reserved space for most of its life.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from live_restore.files.raw_data import MAX_PLANE_JSON, read_at
from live_restore.files.values import NotJsonError, json_object
from live_restore.formats.tiff.tags import ByteOrder, Compression, SampleFormat, Tag

MAX_ENTRIES = 64
"""Directory entries; these writers make 13 to 17."""

_INLINE = {1: "B", 3: "H", 4: "I"}


class NotYetError(Exception):
    """The plane has not been written whole."""


class UnusableError(Exception):
    """The plane is there and of no use; the message says why."""


class OverlapError(UnusableError):
    """More planes are named than the file has bytes for: whatever names them is not to be used."""


class Directory(NamedTuple):
    """Where one plane's parts lie, in bytes from the start of the file."""

    width: int
    height: int
    samples: int
    pixels_at: int
    pixels_bytes: int
    metadata_at: int
    metadata_bytes: int
    sample_format: int
    following: int


@dataclass(frozen=True, slots=True)
class Plane:
    """One plane's pixels: rows without gaps, uncompressed."""

    path: Path
    at: int
    height: int
    width: int
    dtype: np.dtype[np.generic]
    order: ByteOrder = "<"

    @property
    def stored_bytes(self) -> int:
        """Bytes in the file."""
        return self.height * self.width * self.dtype.itemsize


def read_directory(stream: BinaryIO, at: int, size: int, order: ByteOrder) -> Directory:
    """Return the directory at ``at``.

    Raises
    ------
    NotYetError
        It has not been written, or names what lies beyond the end of the file.
    UnusableError
        It is not what these writers write.
    """
    head = read_at(stream, at, 2 + MAX_ENTRIES * 12 + 4)
    if len(head) < 6:
        raise NotYetError
    (count,) = struct.unpack_from(order + "H", head)
    if count == 0 or (len(head) < 6 + count * 12 and count <= MAX_ENTRIES):
        raise NotYetError
    if count > MAX_ENTRIES:
        raise UnusableError(f"a directory claims {count} entries")
    tags: dict[int, tuple[int, int]] = {}
    for number in range(count):
        code, kind, items, value = struct.unpack_from(order + "HHII", head, 2 + number * 12)
        letter = _INLINE.get(kind)
        if letter and items == 1:
            (value,) = struct.unpack_from(order + letter, head, 2 + number * 12 + 8)
        tags.setdefault(code, (items, value))
    (following,) = struct.unpack_from(order + "I", head, 2 + count * 12)
    found = _directory(tags, following)
    if not found.width or not found.height or not found.pixels_at or not found.pixels_bytes:
        raise NotYetError
    if max(found.pixels_at + found.pixels_bytes, found.metadata_at + found.metadata_bytes) > size:
        raise NotYetError
    return found


def _directory(tags: dict[int, tuple[int, int]], following: int) -> Directory:
    def one(code: int, default: int = 0) -> int:
        return tags.get(code, (1, default))[1]

    compression = one(Tag.COMPRESSION, Compression.NONE)
    if compression != Compression.NONE:
        raise UnusableError(f"a plane is compressed (TIFF compression {compression})")
    if tags.get(Tag.STRIP_OFFSETS, (1, 0))[0] != 1:
        raise UnusableError("a plane lies in several strips")
    # The image's metadata as JSON.
    metadata = tags.get(Tag.MICRO_MANAGER, (0, 0))
    return Directory(
        one(Tag.WIDTH), one(Tag.HEIGHT), one(Tag.SAMPLES, 1),
        one(Tag.STRIP_OFFSETS), one(Tag.STRIP_BYTES),
        metadata[1], metadata[0], one(Tag.SAMPLE_FORMAT, SampleFormat.UNSIGNED), following,
    )  # fmt: skip


def dtype_of(
    directory: Directory | None, width: int, height: int, stored_bytes: int
) -> np.dtype[np.generic]:
    """Return the type of a plane's pixels, from its real size.

    The Python NDTiff writer says 16 bits in files of 8: so the bytes decide, never that tag.

    Raises
    ------
    UnusableError
        Colour, or a type that is not restored.
    """
    if directory is not None and directory.samples != 1:
        raise UnusableError("a plane is in colour (RGB); record single channels")
    if stored_bytes == width * height:
        return np.dtype(np.uint8)
    if stored_bytes == 2 * width * height:
        return np.dtype(np.uint16)
    if (
        stored_bytes == 4 * width * height
        and directory is not None
        and directory.sample_format == SampleFormat.FLOAT
    ):
        return np.dtype(np.float32)
    raise UnusableError(
        f"{stored_bytes} bytes for {width} x {height} pixels; 8- and 16-bit grey and float32 "
        "images are read"
    )


def read_metadata(stream: BinaryIO, at: int, count: int) -> dict[str, Any]:
    """Return an image's metadata.

    Raises
    ------
    NotYetError
        They are not there or torn.
    """
    if not 0 < count <= MAX_PLANE_JSON or not at:
        raise NotYetError
    try:
        return json_object(read_at(stream, at, count))
    except NotJsonError as error:
        raise NotYetError from error

"""Finds planes in which nothing has been written: zeros of a file that was reserved beforehand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import BinaryIO

import numpy as np

from live_restore.files.raw_data import is_blank
from live_restore.formats.tiff.decode import read_plane
from live_restore.formats.tiff.page import Page
from live_restore.formats.tiff.tags import ByteOrder, Compression

SUSPICIOUS_RATIO = 30
"""A compressed plane of zeros shrinks 64-fold (PackBits) and more, camera noise about 2-fold."""

SEGMENT_BYTES = 64
"""What an empty compressed strip or tile takes at most, its headers included."""


def blank_planes(
    stream: BinaryIO, pages: Sequence[Page], byte_order: ByteOrder, dtype: np.dtype[np.generic]
) -> tuple[int, ...]:
    """Return the indices of planes that hold nothing but zeros.

    Compressed planes are decoded only if they are suspiciously small.

    Raises
    ------
    DecodeError
        Such a plane is damaged.
    """
    found = []
    for index, page in enumerate(pages):
        if page.compression == Compression.NONE:
            parts = zip(page.offsets, page.counts, strict=True)
            blank = all(is_blank(stream, at, count) for at, count in parts)
        else:
            limit = page.plane_bytes // SUSPICIOUS_RATIO + SEGMENT_BYTES * len(page.counts)
            small = page.stored_bytes <= limit
            blank = small and not read_plane(stream, page, byte_order, dtype).any()
        if blank:
            found.append(index)
    return tuple(found)


def zero_tail(stream: BinaryIO, pages: Sequence[Page], blank: frozenset[int]) -> bool:
    """Return whether the last plane that holds anything, and no other, ends in a row of zeros.

    Only for uncompressed strips, which alone can be reserved before they are written.
    """
    held = [page for index, page in enumerate(pages) if index not in blank]
    if len(held) < 2 or any(page.compression != Compression.NONE or page.tiled for page in held):
        return False
    held.sort(key=lambda page: page.offsets[-1])
    return _ends_in_zeros(stream, held[-1]) and not any(
        _ends_in_zeros(stream, page) for page in held[:-1]
    )


def _ends_in_zeros(stream: BinaryIO, page: Page) -> bool:
    """Return whether the last row of an uncompressed plane is all zero bytes."""
    rows = page.height - page.segment_height * (len(page.offsets) - 1)
    end = page.offsets[-1] + rows * page.row_bytes
    stream.seek(end - page.row_bytes)
    return not any(stream.read(page.row_bytes))

"""Finds planes in which nothing has been written: zeros of a file that was reserved beforehand."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import BinaryIO

import numpy as np

from live_restore.files.raw_data import is_blank
from live_restore.formats.tiff.decode import DecodeError, read_plane
from live_restore.formats.tiff.page import Page
from live_restore.formats.tiff.tags import ByteOrder, Compression

SUSPICIOUS_RATIO = 30
"""A compressed plane of zeros shrinks 64-fold (PackBits) and more, camera noise about 2-fold."""

SEGMENT_BYTES = 64
"""What an empty compressed strip or tile takes at most, its headers included."""

ABSENT, BLANK, DATA = 0, 1, 2
"""What is known of a plane: not there (or not looked at yet), nothing but zeros, not only zeros."""

LOOKED_AHEAD = 64
"""Planes around the last one with data that a look at a growing file looks at again: a writer fills
no more than a few between two looks, and a file may be reserved for 100,000."""

SAMPLED_PLANES = 8
ZEROS_SHARE = 0.001
"""Of the voxels of a plane with data. A camera's offset (about 100) leaves no zero at all, and dead
pixels are 1 in 10,000; a plane next to one without a photon holds many (0.01 photons per voxel more
than the dark plane's none: 99 %; five per voxel, a bright one: 0.7 %)."""


def look_for_data(
    states: bytearray,
    stream: BinaryIO,
    pages: Sequence[Page],
    byte_order: ByteOrder,
    dtype: np.dtype[np.generic],
    absent: Collection[int],
    *,
    everything: bool,
) -> None:
    """Bring up to date what is known of each plane (``ABSENT``, ``BLANK`` or ``DATA``).

    What once held data is not looked at again. Compressed planes are decoded only if they are
    suspiciously small; one that is damaged holds something.

    Parameters
    ----------
    states
        One byte per page that has been looked at; it grows to the number of pages.
    stream, pages, byte_order, dtype
        The open file.
    absent
        Indices of pages whose pixels are not there.
    everything
        Look at all that is blank so far, not only near the last plane with data.
    """
    if len(states) > len(pages):
        # Planes behind the only directory (``FollowingPages``): now more directories are there.
        states.clear()
    states.extend(bytes(len(pages) - len(states)))
    last = states.rfind(DATA)
    empty = 0
    for index in [n for n, state in enumerate(states) if state != DATA]:
        far = empty >= LOOKED_AHEAD or index < last - LOOKED_AHEAD
        if index in absent or (states[index] == BLANK and far and not everything):
            continue
        try:
            blank = is_blank_plane(stream, pages[index], byte_order, dtype)
        except DecodeError:
            blank = False
        states[index] = BLANK if blank else DATA
        empty = empty + 1 if blank and index > last else 0


def is_blank_plane(
    stream: BinaryIO, page: Page, byte_order: ByteOrder, dtype: np.dtype[np.generic]
) -> bool:
    """Return whether a plane holds nothing but zeros.

    Raises
    ------
    DecodeError
        It is compressed, suspiciously small, and damaged.
    """
    if page.compression == Compression.NONE:
        parts = zip(page.offsets, page.counts, strict=True)
        return all(is_blank(stream, at, count) for at, count in parts)
    limit = page.plane_bytes // SUSPICIOUS_RATIO + SEGMENT_BYTES * len(page.counts)
    if page.stored_bytes > limit:
        return False
    return not read_plane(stream, page, byte_order, dtype).any()


def zeros_are_data(
    stream: BinaryIO,
    pages: Sequence[Page],
    states: bytearray,
    byte_order: ByteOrder,
    dtype: np.dtype[np.generic],
) -> bool:
    """Return whether zeros are nothing odd here: planes with data hold many of them, too.

    Half of a few planes must: one may be a plane that was being written when the writer stopped.
    """
    held = [index for index, state in enumerate(states) if state == DATA]
    sample = held[:: max(1, len(held) // SAMPLED_PLANES)][:SAMPLED_PLANES]
    many = 0
    for index in sample:
        try:
            plane = read_plane(stream, pages[index], byte_order, dtype)
        except DecodeError:
            continue
        many += bool(plane.size - np.count_nonzero(plane) >= ZEROS_SHARE * plane.size)
    return bool(sample) and 2 * many >= len(sample)


def zero_tail(
    stream: BinaryIO, pages: Sequence[Page], states: bytearray, *, everything: bool
) -> bool:
    """Return whether the last plane that holds anything, and no other, ends in a row of zeros.

    Only for uncompressed strips, which alone can be reserved before they are written. Unless
    ``everything`` is to be looked at, a few planes before it stand for the others.
    """
    held = [pages[index] for index, state in enumerate(states) if state == DATA]
    if not everything:
        held = held[-1 - SAMPLED_PLANES :]
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

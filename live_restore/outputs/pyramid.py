"""Smaller levels of an image: rows and columns halved again and again, by the mean. Pure."""

from __future__ import annotations

import numpy as np

from live_restore.stack import Volume

OVERVIEW_EDGE = 1024
"""The last level of an image has no edge of its planes above this: what a screen shows at once."""


def levels_of(rows: int, columns: int) -> int:
    """Return how many levels an image has, the whole one included.

    >>> [levels_of(edge, edge) for edge in (512, 1024, 1025, 2048, 2049)]
    [1, 1, 2, 2, 3]
    """
    level = 0
    while -(-max(rows, columns) // 2**level) > OVERVIEW_EDGE:
        level += 1
    return level + 1


def shrunk(plane: Volume, step: int) -> Volume:
    """Return a plane (Y, X) with each edge ``step`` times smaller, each voxel the mean under it.

    Of whole numbers the mean is rounded. Voxels at the far edge are the mean of what is there.

    Examples
    --------
    >>> shrunk(np.array([[1, 3, 5], [1, 3, 6]], np.uint16), 2)
    array([[2, 6]], dtype=uint16)
    """
    if step == 2 and plane.dtype.kind == "u" and not (plane.shape[0] % 2 or plane.shape[1] % 2):
        return _halved(plane)
    rows, columns = np.arange(0, plane.shape[0], step), np.arange(0, plane.shape[1], step)
    # Columns last, as memory lies; sums of 16 bits over 2**16 voxels fit into 32.
    whole = plane.dtype.kind == "u"
    sums = np.add.reduceat(plane, rows, axis=0, dtype=np.uint32 if whole else np.float32)
    sums = np.add.reduceat(sums, columns, axis=1)
    counts = np.outer(
        np.diff(np.append(rows, plane.shape[0])), np.diff(np.append(columns, plane.shape[1]))
    )
    mean = sums / counts
    return np.asarray((mean + 0.5) if whole else mean).astype(plane.dtype)


def _halved(plane: Volume) -> Volume:
    """Do the same for even edges: of 60 planes of 2048 x 2048 in 0.5 s instead of 6 s."""
    pairs = plane[::2].astype(np.uint32)
    pairs += plane[1::2].astype(np.uint32)
    return ((pairs[:, ::2] + pairs[:, 1::2] + 2) >> 2).astype(plane.dtype)


def smaller(volume: Volume) -> Volume:
    """Return a volume (Z, Y, X) with rows and columns halved; planes stay as many as they are."""
    return np.stack([shrunk(plane, 2) for plane in volume])

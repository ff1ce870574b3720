"""Sums of many voxels of 8 and 16 bits: exact, and without a copy of them in a wider type. Pure.

numpy widens each voxel before it adds it. As long as no sum can leave 16 bits, they are added as
they are, which takes a third of the time; only what those give is widened.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_MOST = np.iinfo(np.uint16).max
# Whole numbers up to here are exact in float32, and so are their sums, in whatever order.
_EXACT_IN_FLOAT32 = 2**24


def mean_plane(stack: NDArray[np.generic], highest: float | None = None) -> NDArray[np.float32]:
    """Return the mean of all planes of a stack (Z, Y, X), equal to the bit to numpy's in float32.

    No voxel is above ``highest``; ``None``: it is looked for.

    Examples
    --------
    >>> mean_plane(np.array([[[1, 65_535]], [[2, 65_535]]], np.uint16)).tolist()
    [[1.5, 65535.0]]
    """
    planes = len(stack)
    if stack.dtype not in (np.uint8, np.uint16):
        return np.asarray(stack.mean(axis=0, dtype=np.float32))
    highest = int(stack.max() if highest is None else highest)
    if highest * planes > _EXACT_IN_FLOAT32:
        return np.asarray(stack.mean(axis=0, dtype=np.float32))
    together = _summands(highest)
    total = np.zeros(stack.shape[1:], np.uint32)
    for first in range(0, planes, together):
        total += np.add.reduce(stack[first : first + together], axis=0, dtype=np.uint16)
    return total.astype(np.float32) / np.float32(planes)


def region_sums(
    stack: NDArray[np.generic],
    region_zyx: tuple[int, int, int],
    highest: float | None = None,
) -> NDArray[np.float64]:
    """Return the sum over each region of a stack (Z, Y, X), which is whole regions.

    Parameters
    ----------
    stack, region_zyx
        The stack, and the shape of a region.
    highest
        No voxel is above it; ``None``: it is looked for.

    Returns
    -------
    numpy.ndarray
        (layers, rows, columns), one of each region; exact of whole grey values.

    Examples
    --------
    >>> stack = np.arange(32, dtype=np.uint16).reshape(2, 4, 4)
    >>> region_sums(stack, (2, 2, 2)).tolist()
    [[[84.0, 100.0], [148.0, 164.0]]]
    """
    depth, height, width = region_zyx
    z, y, x = stack.shape
    layers = stack.reshape(z // depth, depth, y // height, height, x)
    if stack.dtype in (np.uint8, np.uint16):
        together = _summands(int(stack.max(initial=0) if highest is None else highest))
        if together >= depth * height:
            sums = np.add.reduce(layers, axis=(1, 3), dtype=np.uint16)
        elif together >= height:
            sums = np.add.reduce(layers, axis=3, dtype=np.uint16).sum(axis=1, dtype=np.uint32)
        else:
            sums = np.add.reduce(layers, axis=(1, 3), dtype=np.uint32)
    else:
        sums = np.add.reduce(layers, axis=(1, 3), dtype=np.float64)
    regions = sums.reshape(*sums.shape[:2], x // width, width)
    return np.asarray(regions.sum(axis=-1, dtype=np.float64))


def _summands(highest: int) -> int:
    """Return how many voxels of up to a grey value can be added in 16 bits."""
    return _MOST // max(1, highest)

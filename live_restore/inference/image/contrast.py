"""What stands out in a plane along one axis at least: where defects are looked for. Pure."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Of white noise the largest twentieth of the contrasts in a plane begins at 1.88 standard
# deviations (measured on a million voxels); what is three times that is looked at. However odd a
# plane is, that is no more than a twentieth of it, and fewer defects do not move the limit.
_CONTRAST_RANK = 95.0
_CONTRAST_FACTOR = 3.0
_CONTRAST_OVER_NOISE = 3 * 1.88
_CONTRAST_SAMPLE = 2**13


class Room:
    """Where planes of one shape and type are compared: memory that is not asked for each time.

    Parameters
    ----------
    plane
        One of them.
    highest
        No voxel of them is above it, if they are of whole grey values.
    """

    def __init__(self, plane: NDArray[Any], highest: float) -> None:
        self.highest = highest
        # Not alike in order: rows are compared as if they were one.
        self.sideways, self.contrast = (np.empty(plane.shape, plane.dtype) for _ in range(2))
        self.above = np.empty(plane.shape, np.bool_)


def candidates_of(
    stack: NDArray[np.generic], highest: float
) -> list[tuple[NDArray[np.intp], NDArray[np.intp], float]]:
    """Return :func:`candidates` of each plane of a stack (Z, Y, X), which ends at ``highest``."""
    room = Room(_compared(stack[0]), highest)
    return [candidates(plane, room) for plane in stack]


def candidates(
    plane: NDArray[np.generic], room: Room
) -> tuple[NDArray[np.intp], NDArray[np.intp], float]:
    """Return Y and X of what stands out along one axis at least, and the plane's noise."""
    v = _compared(plane)
    beside = _lower_of_higher_neighbours(v, room)
    step = v.size // _CONTRAST_SAMPLE | 1  # odd, lest it see every second column
    compared = np.float32 if v.dtype.kind == "f" else np.int32
    sample = v.ravel()[::step].astype(compared) - beside.ravel()[::step]
    limit = _CONTRAST_FACTOR * _ranked(sample)
    if not limit > 0:
        return np.zeros(0, np.intp), np.zeros(0, np.intp), 0.0
    _stands_out(v, beside, limit, room)
    # Of most rows nothing stands out, and to ask that takes a third of the time.
    rows = np.flatnonzero(_any_in_rows(room.above))
    row, x = np.nonzero(room.above[rows])
    return rows[row], x, limit / _CONTRAST_OVER_NOISE


def _any_in_rows(marked: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which rows (Y, X) hold a mark."""
    if marked.shape[1] % 8:
        return np.asarray(marked.any(axis=1))
    eights = np.bitwise_or.reduce(marked.view(np.uint64), axis=1)
    return np.asarray(eights != 0)


def _ranked(sample: NDArray[Any]) -> float:
    """Return the contrast of a rank, as ``numpy.percentile`` does; NaN where one is.

    That takes, for every plane, as long as comparing its voxels does. Whole numbers are counted: a
    fifth of the time.
    """
    position = _CONTRAST_RANK / 100 * (sample.size - 1)
    first = int(position)
    places = first, min(first + 1, sample.size - 1)
    if sample.dtype.kind == "f":
        sample.partition((*places, sample.size - 1))  # NaN would be last
        if np.isnan(sample[-1]):
            return math.nan
        lower, upper = (float(sample[place]) for place in places)
    else:
        least = int(sample.min())
        cumulative = np.cumsum(np.bincount(sample - least))
        found = np.searchsorted(cumulative, places, side="right")
        lower, upper = (float(least + each) for each in found)
    return lower + (upper - lower) * (position - first)


def _stands_out(v: NDArray[Any], beside: NDArray[Any], limit: float, room: Room) -> None:
    """Mark in ``room.above`` where ``v`` is above ``beside`` by more than a limit."""
    contrast, above = room.contrast, room.above
    if v.dtype.kind == "f":
        np.greater(np.subtract(v, beside, out=contrast), np.float32(limit), out=above)
        return
    most = int(np.iinfo(v.dtype).max)
    step = int(min(np.floor(np.float32(limit)), most))
    if int(room.highest) + step <= most:
        np.greater(v, np.add(beside, v.dtype.type(step), out=beside), out=above)
        return
    np.maximum(v, beside, out=contrast)
    contrast -= beside  # 0 where it is negative, and the limit is above that
    np.greater(contrast, v.dtype.type(step), out=above)


def _compared(plane: NDArray[np.generic]) -> NDArray[Any]:
    """Return a plane in the type in which voxels are compared.

    Whole grey values of 8 and 16 bits stay as they are: a half or a quarter of the bytes.
    """
    small = plane.dtype in (np.uint8, np.uint16)
    return plane if small else plane.astype(np.float32, copy=False)


def _lower_of_higher_neighbours(v: NDArray[Any], room: Room) -> NDArray[Any]:
    """Return of each voxel (Y, X) the higher neighbour along each axis, and the lower of both.

    Beyond the rim the plane is mirrored.
    """
    sideways, up_and_down = room.sideways, room.contrast
    # As one row: rows by themselves are too short for the processor's vectors, and take three times
    # as long. What that makes of the rim is overwritten.
    row = np.ascontiguousarray(v).reshape(-1)
    np.maximum(row[:-2], row[2:], out=sideways.reshape(-1)[1:-1])
    sideways[:, 0], sideways[:, -1] = v[:, 1], v[:, -2]
    np.maximum(v[:-2], v[2:], out=up_and_down[1:-1])
    up_and_down[0], up_and_down[-1] = v[1], v[-2]
    return np.asarray(np.minimum(sideways, up_and_down, out=sideways))

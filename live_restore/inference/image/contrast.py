"""What stands out in a plane along one axis at least: where defects are looked for. Pure."""

from __future__ import annotations

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


def candidates(plane: NDArray[np.generic]) -> tuple[NDArray[np.intp], NDArray[np.intp], float]:
    """Return Y and X of what stands out along one axis at least, and the plane's noise."""
    # Whole grey values of 8 and 16 bits as they are: a half or a quarter of the bytes.
    small = plane.dtype in (np.uint8, np.uint16)
    v: NDArray[Any] = plane if small else plane.astype(np.float32, copy=False)
    beside = _lower_of_higher_neighbours(v)
    step = v.size // _CONTRAST_SAMPLE | 1  # odd, lest it see every second column
    sample = v.ravel()[::step].astype(np.float32) - beside.ravel()[::step]
    limit = _CONTRAST_FACTOR * float(np.percentile(sample, _CONTRAST_RANK))
    if not limit > 0:
        return np.zeros(0, np.intp), np.zeros(0, np.intp), 0.0
    if small:
        contrast = np.maximum(v, beside)
        contrast -= beside  # 0 where it is negative, and the limit is above that
        most = float(np.iinfo(contrast.dtype).max)
        above = contrast > contrast.dtype.type(min(np.floor(np.float32(limit)), most))
    else:
        above = v - beside > np.float32(limit)
    y, x = np.divmod(np.flatnonzero(above), plane.shape[1])
    return y, x, limit / _CONTRAST_OVER_NOISE


def _lower_of_higher_neighbours(v: NDArray[Any]) -> NDArray[Any]:
    """Return of each voxel (Y, X) the higher neighbour along each axis, and the lower of both.

    Beyond the rim the plane is mirrored.
    """
    sideways, up_and_down = np.empty_like(v), np.empty_like(v)
    np.maximum(v[:, :-2], v[:, 2:], out=sideways[:, 1:-1])
    sideways[:, 0], sideways[:, -1] = v[:, 1], v[:, -2]
    np.maximum(v[:-2], v[2:], out=up_and_down[1:-1])
    up_and_down[0], up_and_down[-1] = v[1], v[-2]
    return np.asarray(np.minimum(sideways, up_and_down, out=sideways))

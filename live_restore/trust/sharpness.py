"""How much fine detail does a stack have, raw and restored? Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from live_restore.inference.image.finest_detail import finest_detail
from live_restore.inference.image.flux import Flux
from live_restore.inference.image.gain import part_to_look_at
from live_restore.stack import Volume

_Floats = NDArray[np.float32]

# (1 -2 1) along one axis of pixels 2 x 2: what white noise of variance 1 in each voxel leaves.
_NOISE_SHARE = (1 + 4 + 1) / 4
_SMALLEST = 6
_VOXELS_AT_ONCE = 2**16
"""What is computed at a time stays in the processor's cache."""
# Of the estimated detail of the raw stack; what is less certain is not stated.
_MOST_ERROR = 0.1


@dataclass(frozen=True)
class Sharpness:
    """Detail of two to four pixels (rms), over the light of the bright regions.

    Parameters
    ----------
    raw
        Of the raw stack, without its noise.
    restored
        Of the restored one.
    error
        What ``restored / raw`` may be wrong by, as a share of it.
    """

    raw: float
    restored: float
    error: float


def sharpness(raw: Volume, restored: Volume, flux: Flux) -> Sharpness | None:
    """Return the sharpness of a stack, ``None`` where too little is known.

    Parameters
    ----------
    raw, restored
        (Z, Y, X) in ADU.
    flux
        Of the same: the light that detail is compared with.
    """
    if not (flux.raw_adu and flux.restored_adu and flux.restored_adu > 0):
        return None
    part = part_to_look_at(raw.shape)
    raw, restored = raw[part], restored[part]
    if min(raw.shape[1:]) < _SMALLEST:
        return None
    sums = np.zeros(3)
    at_once = max(1, _VOXELS_AT_ONCE // raw[0].size)
    with np.errstate(over="ignore", invalid="ignore"):
        for first in range(0, len(raw), at_once):
            some = slice(first, first + at_once)
            before, after = (stack[some].astype(np.float32) for stack in (raw, restored))
            # The finest detail of what was taken away is noise, of which a network lets little
            # through. Every second place along Y and X tells it as well: its neighbours share most
            # of their voxels.
            noise = _mean_square(finest_detail(before - after, step=2))
            sums += np.multiply((noise, _detail(before), _detail(after)), len(before))
    noise, found, made = (float(each) for each in sums / len(raw))
    own = found - _NOISE_SHARE * noise
    # Of a mean of squares over about a quarter as many independent places as there are voxels.
    error = _NOISE_SHARE * noise * math.sqrt(2 / (raw.size / 4)) + 0.01 * _NOISE_SHARE * noise
    if not (math.isfinite(own) and own > 0 and made > 0 and error < 2 * _MOST_ERROR * own):
        return None
    return Sharpness(
        math.sqrt(own) / flux.raw_adu, math.sqrt(made) / flux.restored_adu, error / own / 2
    )


def _detail(planes: _Floats) -> float:
    """Return the mean square of second differences along Y and X of pixels 2 x 2."""
    _, y, x = planes.shape
    rows = planes[:, : y // 2 * 2 : 2] + planes[:, 1 : y // 2 * 2 : 2]
    coarse = rows[..., : x // 2 * 2 : 2] + rows[..., 1 : x // 2 * 2 : 2]
    coarse /= 4
    twice = 2 * coarse
    along_y = coarse[:, 2:] + coarse[:, :-2]
    along_y -= twice[:, 1:-1]
    along_x = coarse[..., 2:] + coarse[..., :-2]
    along_x -= twice[..., 1:-1]
    return (_mean_square(along_y) + _mean_square(along_x)) / 2


def _mean_square(values: NDArray[np.floating]) -> float:
    # In float32, in which numpy adds pairwise: of so few no digit that counts is lost, and widening
    # each would take as long as all else here.
    squares = np.multiply(values, values, out=values)
    return float(np.add.reduce(squares.reshape(-1))) / values.size

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
    before, after = (stack[part].astype(np.float32) for stack in (raw, restored))
    if min(before.shape[1:]) < _SMALLEST:
        return None
    with np.errstate(over="ignore", invalid="ignore"):
        # The finest detail of what was taken away is noise, of which a network lets little through.
        noise = float(np.mean(finest_detail(before - after) ** 2, dtype=np.float64))
        found, made = _detail(before), _detail(after)
    own = found - _NOISE_SHARE * noise
    # Of a mean of squares over about a quarter as many independent places as there are voxels.
    error = _NOISE_SHARE * noise * math.sqrt(2 / (before.size / 4)) + 0.01 * _NOISE_SHARE * noise
    if not (math.isfinite(own) and own > 0 and made > 0 and error < 2 * _MOST_ERROR * own):
        return None
    return Sharpness(
        math.sqrt(own) / flux.raw_adu, math.sqrt(made) / flux.restored_adu, error / own / 2
    )


def _detail(planes: _Floats) -> float:
    """Return the mean square of second differences along Y and X of pixels 2 x 2."""
    z, y, x = planes.shape
    binned = planes[:, : y // 2 * 2, : x // 2 * 2].reshape(z, y // 2, 2, x // 2, 2)
    half = binned[:, :, 0] + binned[:, :, 1]
    coarse = (half[..., 0] + half[..., 1]) / 4
    along_y = coarse[:, 2:] + coarse[:, :-2] - 2 * coarse[:, 1:-1]
    along_x = coarse[..., 2:] + coarse[..., :-2] - 2 * coarse[..., 1:-1]
    squares = [float(np.mean(each * each, dtype=np.float64)) for each in (along_y, along_x)]
    return sum(squares) / 2

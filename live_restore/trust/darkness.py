"""What a camera records without light: offset, noise, bad pixels; and whether it is dark. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from live_restore.errors import StackRefusedError
from live_restore.stack import Mask
from live_restore.trust.bootstrap import Measured, interval, of_parts

_Doubles = NDArray[np.float64]

ROUNDING = 1 / 12
"""Variance (ADU**2) of rounding to whole grey values."""
# Of the reading of a pixel: what a single frame shows.
_BAD_OFFSET, _BAD_NOISE = 6.0, 5.0
_MOST_BAD = 0.1
# Offsets of cameras are 100 to some 500 grey values in 16 bits (of 12 that fill the upper bits of
# 16, up to 1600), and up to 20 in 8.
_HIGHEST_OFFSET = {1: 25, 2: 2048}
# In the dark, the levels of parts of a sensor differ by a small part of its noise (columns of sCMOS
# cameras by some tenths of a grey value at a noise of 3); of a cell of 10 e- by several times it.
_BLOCK = 16
_LEVEL = 1.0
_LEAST_NOISE_ADU = 0.5


@dataclass(frozen=True)
class Darkness:
    """What a camera records without light.

    Parameters
    ----------
    offset_adu
        Mean of all pixels.
    noise_adu
        Standard deviation over time, the rms of all pixels.
    bad_pixels
        (Y, X), those whose mean or noise is far from that of the others.
    """

    offset_adu: Measured
    noise_adu: Measured
    bad_pixels: Mask


def darkness(frames: Sequence[NDArray[np.generic]]) -> Darkness:
    """Return offset and read noise (ADU) from frames without light.

    Parameters
    ----------
    frames
        At least 4 of (Y, X).

    Raises
    ------
    StackRefusedError
        Too few frames, nothing but one grey value, values cut off at 0, or light.
    """
    if len(frames) < 4:
        raise StackRefusedError(
            f"has {len(frames)} frame(s): the noise of a pixel takes 4 at least",
            None,
            "record some 50 dark frames",
        )
    volume = np.stack(frames).astype(np.float32)
    if np.count_nonzero(volume == 0) > 0.01 * volume.size:
        raise StackRefusedError(
            "is cut off at 0: the lower half of its noise is not recorded",
            None,
            "raise the offset (black level) of the camera",
        )
    means = volume.mean(axis=0, dtype=np.float64)
    variances = volume.var(axis=0, ddof=1, dtype=np.float64)
    if not variances.any():
        raise StackRefusedError(
            "has no noise", None, "record it with the camera, not with a program"
        )
    typical = float(np.median(variances)) or float(variances.mean())
    bad = np.abs(means - np.median(means)) > _BAD_OFFSET * math.sqrt(typical)
    bad |= variances > _BAD_NOISE**2 * typical * (1 + 4 / math.sqrt(len(frames)))
    if typical > 1:  # below one grey value, chance leaves some pixels without noise
        bad |= variances == 0
    _refuse_light(means, math.sqrt(typical), frames[0].dtype)
    if bad.mean() > _MOST_BAD:
        raise StackRefusedError(
            f"has {100 * bad.mean():.0f} % of its pixels far from the others: it is not dark, or "
            "not of one camera",
            None,
            "record it with the shutter closed",
        )
    noise = of_parts(np.maximum(variances - _rounding(frames), 0), ~bad)
    return Darkness(interval(of_parts(means, ~bad)), interval(np.sqrt(noise)), bad)


def _refuse_light(means: _Doubles, noise: float, dtype: np.dtype[np.generic]) -> None:
    """Raise for frames that are too bright for darkness, or show something.

    Parameters
    ----------
    means
        (Y, X), of every pixel over time (ADU).
    noise
        Standard deviation of a pixel over time (ADU).
    dtype
        Of the frames.
    """
    level = float(np.median(means))
    remedy = "record it with the shutter closed and the lamps off, or give it as lit frames"
    if dtype.kind in "iu" and level > _HIGHEST_OFFSET.get(dtype.itemsize, math.inf):
        raise StackRefusedError(
            f"is not dark: its mean of {level:.0f} is far above what an offset can be", None, remedy
        )
    rows, columns = (size // _BLOCK for size in means.shape)
    if min(rows, columns) < 2:
        return
    blocks = means[: rows * _BLOCK, : columns * _BLOCK].reshape(rows, _BLOCK, columns, _BLOCK)
    # The median of a block passes by its bad pixels.
    levels = np.median(blocks.swapaxes(1, 2).reshape(rows * columns, -1), axis=1)
    low, high = np.percentile(levels, (5, 95))
    if high - low > _LEVEL * max(noise, _LEAST_NOISE_ADU):
        raise StackRefusedError(
            f"is not dark: it shows something, by {high - low:.1f} grey values where its noise is "
            f"{noise:.1f}",
            None,
            remedy,
        )


def _rounding(frames: Sequence[NDArray[np.generic]]) -> float:
    return ROUNDING if frames[0].dtype.kind in "iu" else 0.0

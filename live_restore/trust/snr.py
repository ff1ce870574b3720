"""How noisy is a raw stack? Its signal-to-noise ratio, from the stack alone."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from live_restore.inference.image.finest_detail import finest_detail

_Floats = NDArray[np.float32]

# Blocks keep the time of a large stack to that of 0.6 million voxels, 3 ms on one core. They are
# small and many, since what is bright lies together: which ones are drawn changes the ratio by 6 to
# 7 % rms (32 x 512 x 512, cells; docs/explanation/limits.md). Three rows are what a place needs.
_BLOCK_ZYX = (4, 3, 64)
_MOST_BLOCKS = 768
# Smaller stacks are looked at as a whole, in blocks that lose fewer places at their rims.
_WHOLE = 48 * 8 * 64 * 64
_BLOCK_OF_WHOLE_ZYX = (8, 64, 64)
# What is computed at a time stays in the processor's cache; half as much takes a fifth longer.
_VOXELS_AT_ONCE = 2**16
# Shares of the places that are below each class of brightness. The first class is the background;
# the last, 0.2 %, is centred on the 99.9th percentile, where the peak of a simulated stack is
# defined. The other classes carry the line of variance over brightness.
_CLASS_RANKS = (0.1, 0.25, 0.5, 0.75, 0.9, 0.96, 0.99, 0.998)
# Of more places, every second along Y and X is measured: its neighbours share most of their voxels.
# A quarter of them tell a variance as well as 85 % of all would (autocorrelation of the operator).
_ALL_PLACES = 2**17
_EDGES_FROM = 2**14
_PLACES_AT_ONCE = 2**14
_FEWEST_PLACES = 64
_FEWEST_IN_CLASS = 16
_FEWEST_PILED_UP = 20
_HIGHEST_RATIO = 1e4
"""Of a stack without noise; also keeps the number finite."""


@dataclass(frozen=True)
class SignalToNoise:
    """What a stack's own voxels say about its light.

    Parameters
    ----------
    ratio
        ``signal_adu / noise_adu``, 0 to 10,000.
    signal_adu
        The brightest 0.2 % above the background (ADU).
    noise_adu
        Standard deviation of the noise there (ADU).
    background_adu
        Mean of the darkest tenth (ADU).
    saturated
        Whether grey values pile up at the highest one; voxels beside those are left out.
    saturated_share
        Of the voxels that were looked at, how many have that value then (0 to 1).
    """

    ratio: float
    signal_adu: float
    noise_adu: float
    background_adu: float
    saturated: bool
    saturated_share: float


def estimate_snr(stack: NDArray[np.generic]) -> SignalToNoise | None:
    """Estimate the signal-to-noise ratio at the brightest structures of a raw stack.

    Bright and dark places are found by the mean of their 26 neighbours (8 in a single plane), and
    measured by the voxel in the middle: its noise had no say in the choice, so that the brightest
    places are not merely those with the most noise. The noise is the finest diagonal detail of a
    plane (:func:`finest_detail`), where optics pass next to nothing. Its variance is fitted by a
    line over brightness, the photon transfer curve (Janesick, *Photon Transfer*, SPIE 2007), so
    that the few brightest places do not decide it alone.

    Parameters
    ----------
    stack
        (Z, Y, X) or (Y, X), integer or float, finite, any unit. Of a large stack 768 blocks, always
        the same ones, are looked at.

    Returns
    -------
    SignalToNoise or None
        ``None`` where nothing can be known: every voxel is equal, a plane smaller than 3 x 3, or
        fewer than 64 places that are neither padding nor beside a saturated voxel.

    Notes
    -----
    Too low below about 2, where neighbours no longer find the bright places (pure noise gives about
    0). Too high where noise was smoothed away before: averaged, denoised, deconvolved,
    interpolated, JPEG-compressed stacks. What a pixel does the same way in every plane counts as
    noise too. Gain and read noise of the camera are not given: the slope of the line was found
    right within 30 % only between about 10 and 300 photo-electrons.
    """
    volume = stack if stack.ndim == 3 else stack[np.newaxis]
    if volume.ndim != 3 or min(volume.shape[1:]) < 3 or not len(volume):
        return None
    sample, darkest, unit = _from_zero(_blocks(volume))
    if not unit:
        return None
    around, middle, difference, usable, saturated = _places(sample)
    if usable.all():  # nearly always: no copies
        around, middle, difference = around.ravel(), middle.ravel(), difference.ravel()
    else:
        around, middle, difference = around[usable], middle[usable], difference[usable]
    if around.size < _FEWEST_PLACES:
        return None
    background, peak, variance = _photon_transfer(around, middle, difference)
    if stack.dtype.kind != "f":
        variance = max(variance, 1 / 12)  # of rounding to whole grey values
    noise, signal = float(np.sqrt(variance)), max(peak - background, 0.0)
    ratio = min(signal / noise, _HIGHEST_RATIO) if noise else (_HIGHEST_RATIO if signal else 0.0)
    return SignalToNoise(
        ratio=ratio,
        signal_adu=signal * unit,
        noise_adu=noise * unit,
        background_adu=background * unit + darkest,
        saturated=saturated,
        saturated_share=np.count_nonzero(sample == sample.max()) / sample.size
        if saturated
        else 0.0,
    )


def _blocks(volume: NDArray[np.generic]) -> NDArray[np.generic]:
    """Return (N, Z, Y, X) blocks of a stack: all of them, or as many as time allows."""
    whole = volume.size <= _WHOLE
    block = _BLOCK_OF_WHOLE_ZYX if whole else _BLOCK_ZYX
    size = [min(have, want) for have, want in zip(volume.shape, block, strict=True)]
    starts = [
        np.linspace(0, have - part, -(-have // part)).astype(int)
        for have, part in zip(volume.shape, size, strict=True)
    ]
    counts = [len(each) for each in starts]
    chosen = np.arange(math.prod(counts))
    if not whole and len(chosen) > _MOST_BLOCKS:
        # One of each of so many parts of the stack, since structures lie together; which one is
        # drawn, since a regular choice could miss a regular sample; seeded, since the same stack
        # must have the same report.
        parts = np.linspace(0, len(chosen), _MOST_BLOCKS + 1).astype(int)
        chosen = np.random.default_rng(0).integers(parts[:-1], parts[1:])
    corners = [each[n] for each, n in zip(starts, np.unravel_index(chosen, counts), strict=True)]
    blocks = np.lib.stride_tricks.sliding_window_view(volume, size)
    return np.asarray(blocks[tuple(corners)])


def _from_zero(sample: NDArray[np.generic]) -> tuple[NDArray[np.generic], float, float]:
    """Return a sample with its minimum at 0, that minimum, and what one unit of it is in ADU.

    Whole grey values stay such: what is computed of them is made float32 a part at a time.
    """
    low, high = float(sample.min()), float(sample.max())
    if sample.dtype.kind == "u":
        return sample - sample.dtype.type(low), low, float(high > low)  # type: ignore[operator]
    if sample.dtype.kind != "f":
        return sample.astype(np.float32) - np.float32(low), low, float(high > low)
    unit = high - low  # as large as 1e38: squares of it would be no float32
    if unit == 0:
        return np.zeros(sample.shape, np.float32), low, 0.0
    return np.asarray((sample.astype(np.float64) - low) / unit, np.float32), low, unit


def _places(
    v: NDArray[np.generic],
) -> tuple[_Floats, _Floats, _Floats, NDArray[np.bool_], bool]:
    """Return mean of the neighbours, voxel, its noise difference, and which places can be used."""
    inner = v[..., 1:-1, 1:-1]
    step = 1 if inner.size <= _ALL_PLACES else 2
    shape = inner[..., ::step, ::step].shape
    middle, difference, around = np.empty((3, *shape), np.float32)
    for some in _parts(v):
        floats = v[some].astype(np.float32)
        middle[some] = floats[..., 1:-1:step, 1:-1:step]
        difference[some] = finest_detail(floats, step)
        np.subtract(_sum_around(floats, step), middle[some], out=around[some])
        around[some] /= _neighbours(v)
    # All neighbours at the minimum: padding of registered or cropped stacks, not a dark sample.
    usable = around > 0
    top = float(v.max())
    next_lower = _piled_up(v, top)
    if next_lower is not None:
        usable &= ~_beside(v, top, step)
    if not usable.all():
        next_higher = _piled_up(v, 0.0)
        # Zeros that the noise does not reach are padding; without that gap they are darkness.
        noise = 1.5 * float(np.median(np.abs(difference[usable]))) if usable.any() else 0.0
        if next_higher is not None and next_higher > 3 * noise:
            usable &= ~_beside(v, 0.0, step)
    return around, middle, difference, usable, next_lower is not None


def _parts(v: NDArray[np.generic]) -> Iterator[slice]:
    """Yield which blocks are computed with at a time."""
    blocks = max(1, _VOXELS_AT_ONCE // math.prod(v.shape[1:]))
    for first in range(0, len(v), blocks):
        yield slice(first, first + blocks)


def _beside(v: NDArray[np.generic], extreme: float, step: int) -> NDArray[np.bool_]:
    """Return at which places one of the neighbours, or the voxel itself, has an extreme value."""
    found = [_sum_around((v[some] == extreme).astype(np.float32), step) > 0 for some in _parts(v)]
    return np.concatenate(found)


def _piled_up(v: NDArray[np.generic], extreme: float) -> float | None:
    """Return the grey value next to an extreme one at which voxels pile up, else ``None``."""
    at_extreme = np.count_nonzero(v == extreme)
    if at_extreme < _FEWEST_PILED_UP or at_extreme == v.size:
        return None
    beside = float(v[v != extreme].min() if extreme == 0 else v[v != extreme].max())
    return beside if at_extreme > 2 * np.count_nonzero(v == beside) else None


def _sum_around(v: _Floats, step: int) -> _Floats:
    """Return the sum over 3 x 3 x 3 voxels, around every ``step``-th along Y and X of a block."""
    rows = v[..., :-2:step, :] + v[..., 1:-1:step, :]
    rows += v[..., 2::step, :]
    plane = rows[..., :-2:step] + rows[..., 1:-1:step]
    plane += rows[..., 2::step]
    total = np.asarray(plane.copy())
    total[:, 1:] += plane[:, :-1]
    total[:, :-1] += plane[:, 1:]
    return total


def _neighbours(v: NDArray[np.generic]) -> _Floats:
    """Return how many neighbours a voxel of each plane has."""
    planes = v.shape[1]
    counts = np.full(planes, 26, np.float32)
    counts[0] -= 9
    counts[-1] -= 9
    return counts[:, np.newaxis, np.newaxis]


def _photon_transfer(
    around: _Floats, middle: _Floats, difference: _Floats
) -> tuple[float, float, float]:
    """Return background, peak, and the variance of the noise at the peak."""
    sample = np.sort(around[:: max(1, around.size // _EDGES_FROM)])
    edges = sample[np.multiply(_CLASS_RANKS, sample.size).astype(int)]
    classes = len(edges) + 1
    sums = np.zeros((3, classes))
    for first in range(0, around.size, _PLACES_AT_ONCE):
        some = slice(first, first + _PLACES_AT_ONCE)
        brightness = np.zeros(around[some].size, np.uint8)
        for edge in edges:
            brightness += around[some] >= edge
        which = brightness.astype(np.intp)
        for total, values in zip(sums, (None, middle[some], difference[some] ** 2), strict=True):
            total += np.bincount(which, values, classes)
    filled = sums[0] >= min(_FEWEST_IN_CLASS, sums[0].max())
    counts, means, variances = sums[:, filled]
    means, variances = means / counts, variances / counts
    background, peak = float(means[0]), float(means[-1])
    if variances.min() == 0:
        return background, peak, float(variances[-1])
    # The relative error of a variance is about sqrt(2 / count).
    weights = np.sqrt(counts) / variances
    columns = np.stack([np.ones_like(means), means - background], axis=1)
    offset, slope = np.linalg.lstsq(columns * weights[:, None], variances * weights, rcond=None)[0]
    fitted = offset + max(slope, 0.0) * (peak - background)
    return background, peak, float(fitted if fitted > 0 else variances[-1])

"""Is brightness preserved? Bright regions of a restored stack against the raw one. Pure.

The mean of many raw voxels is the best that is known of a region's light: noise averages out, and
no model has judged it. So what a restored stack makes of a region can be compared without a truth.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from live_restore.inference.image.defects import Defects
from live_restore.inference.image.intensity import percentiles
from live_restore.inference.image.sums import region_sums
from live_restore.stack import Volume

_Doubles = NDArray[np.float64]
_Floats = NDArray[np.float32]

# As large as those of the envelope (docs/explanation/limits.md): their means have next to no noise
# at 10 photo-electrons, and they are smaller than a nucleus.
_REGION_ZYX = (4, 16, 16)
# Of the brightest region's light above the floor: what a person would draw a region around.
_BRIGHT = 0.2
_FEWEST_BRIGHT = 3
# The darkest hundredth of the restored voxels are what a person would take for the background.
# The darkest regions are not, where structure is everywhere: with them, a loss of 0.2 % was called
# 5.7 % (the judge "speckled-membrane", 30 e-).
_FLOOR_RANK = 1.0
_FLOOR_VOXELS = 2**17
# A quarter of the voxels tell the noise of one region's mean within 9 %, and that of all bright
# regions together better.
_EVERY_PLANE = 4
_FEWEST = 20
"""Regions: of fewer, bright ones mean little."""
# Standard errors that are stated, and what else was found to be off (docs/explanation/trust.md).
_SURE = 2.0
_BESIDES_PERCENT = 0.5
_MOST_ERROR_PERCENT = 1.8
"""A bias that may be wrong by more is not stated."""
DOUBTFUL_PERCENT = 5.0
"""Of a bleaching curve or a ratio of two channels, what people take for no difference."""
# Low-passed noise of the raw stack that comes back with its light: 0.03 % of its variance.
_LOW_PASS_ZYX = (2.0, 6.0, 6.0)


@dataclass(frozen=True)
class Flux:
    """What became of the light of a stack's bright regions.

    Parameters
    ----------
    bias_percent
        Light above the background, restored over raw, less 100 %: -8 where 8 % is missing; ``None``
        where it is not known.
    error_percent
        What it may be wrong by, in 19 of 20 stacks; ``None`` likewise.
    unknown_because
        Why it is not known; empty where it is.
    raw_adu, restored_adu
        Light of the bright regions above the background (ADU per voxel); ``None`` where there are
        none.
    """

    bias_percent: float | None
    error_percent: float | None
    unknown_because: str = ""
    raw_adu: float | None = None
    restored_adu: float | None = None

    @property
    def in_words(self) -> str:
        """For a screen: ``"8.1 % less light (within 1.2)"``, or ``"not known"``."""
        if self.bias_percent is None or self.error_percent is None:
            return "not known"
        more_or_less = "more" if self.bias_percent > 0 else "less"
        return (
            f"{abs(self.bias_percent):.1f} % {more_or_less} light (within {self.error_percent:.1f})"
        )


class Regions(NamedTuple):
    """Means over regions, flat: of the raw stack, of what another stack has more, and its variance.

    The variance is that of the means of ``raw`` (their noise, squared).
    """

    raw: _Doubles
    more: _Doubles
    variance: _Doubles


def flux_bias(raw: Volume, restored: Volume, defects: Sequence[Defects] = ()) -> Flux:
    """Compare the bright regions of a restored stack with the raw one.

    Parameters
    ----------
    raw, restored
        (Z, Y, X) in ADU.
    defects
        What no sample made, in ``raw``: it counts for neither.
    """
    # Of a stack in any unit, squares may be no float32: then nothing is known.
    with np.errstate(over="ignore", invalid="ignore"):
        return _judged(_regions(raw, restored, defects), _floor(restored))


def flux_of_less(raw: _Floats, whole: _Floats, thinned: _Floats, restored: _Floats) -> Flux:
    """Return the same of a stack of less light, in the units of all the light.

    The regions are those of ``raw``, and the background that of ``whole``, which was made of it.
    They are compared with ``thinned``, of which ``restored`` was made: what noise brightens in the
    one, it brightens in the other.
    """
    return _judged(_regions(raw, restored, (), thinned), _floor(whole))


def add_light_back(raw: Volume, restored: _Floats) -> None:
    """Add to a restored stack (Z, Y, X; ADU) the light that it lacks, in place.

    That is the difference from the raw stack behind a Gaussian of 2 x 6 x 6 voxels, which keeps 1
    in 3000 of the noise's variance.
    """
    # Here, since programs without this need not wait for it when they start.
    from scipy import ndimage

    with np.errstate(invalid="ignore", over="ignore"):  # refused by whoever finishes the result
        missing = raw.astype(np.float32) - restored
        restored += ndimage.gaussian_filter(missing, _LOW_PASS_ZYX, output=missing)


def _regions(
    raw: Volume, other: Volume, defects: Sequence[Defects], against: Volume | None = None
) -> Regions:
    """Return the means; what is left over at the far end of an axis is not used.

    ``other`` is compared with ``against``, or with ``raw``. What they differ by at single voxels is
    only the noise of the means: every fourth plane tells it.
    """
    compared = raw if against is None else against
    size = [min(r, n) for r, n in zip(_REGION_ZYX, raw.shape, strict=True)]
    depth, rows, columns = size
    layers, height, width = (n // r for n, r in zip(raw.shape, size, strict=True))
    cut = tuple(slice(0, n * r) for n, r in zip((layers, height, width), size, strict=True))
    raw, other, compared = raw[cut], other[cut], compared[cut]
    wrong = _inside(_indices(defects, len(raw)), raw.shape)
    light, more = (region_sums(each, (depth, rows, columns)) for each in (raw, other))
    more -= light if against is None else region_sums(compared, (depth, rows, columns))
    if len(wrong[0]):
        z, y, x = wrong
        at = np.ravel_multi_index((z // depth, y // rows, x // columns), more.shape)
        lone = other[wrong].astype(np.float64) - compared[wrong].astype(np.float64)
        more -= np.bincount(at, lone, more.size).reshape(more.shape)
    squares = np.zeros_like(more)
    looked_at = range(0, depth, _EVERY_PLANE)
    first, second = np.empty((2, *raw.shape[1:]), np.float32)
    for plane in (layer * depth + each for layer in range(layers) for each in looked_at):
        first[...], second[...] = other[plane], compared[plane]
        first -= second
        first[wrong[1][wrong[0] == plane], wrong[2][wrong[0] == plane]] = 0
        first *= first
        squares[plane // depth] += region_sums(first[np.newaxis], (1, rows, columns), np.float32)[0]
    squares *= depth / len(looked_at)
    voxels = math.prod(size)
    light, more, squares = (each.ravel() / voxels for each in (light, more, squares))
    return Regions(light, more, squares / voxels)


def _inside(
    where: tuple[NDArray[np.intp], ...], shape: tuple[int, ...]
) -> tuple[NDArray[np.intp], ...]:
    z, y, x = where
    here = (z < shape[0]) & (y < shape[1]) & (x < shape[2])
    return z[here], y[here], x[here]


def _indices(defects: Sequence[Defects], planes: int) -> tuple[NDArray[np.intp], ...]:
    each = [found.indices(planes) for found in defects]
    if not each:
        return (np.zeros(0, np.intp),) * 3
    return tuple(np.concatenate(parts) for parts in zip(*each, strict=True))


def _floor(restored: Volume) -> float:
    """Return the grey value of the background."""
    sample = restored.reshape(-1)[:: max(1, restored.size // _FLOOR_VOXELS)]
    return percentiles(sample, (_FLOOR_RANK,))[0]


def _judged(regions: Regions, floor: float) -> Flux:
    light, more, variance = regions
    if not (
        math.isfinite(floor)
        and np.isfinite(light).all()
        and np.isfinite(more).all()
        and np.isfinite(variance).all()
    ):
        return Flux(None, None, "its numbers are not finite")
    if light.size < _FEWEST:
        return Flux(None, None, "the stack is too small")
    above = light - floor
    bright = above > _BRIGHT * above.max()
    count = int(np.count_nonzero(bright))
    if count < _FEWEST_BRIGHT:
        return Flux(None, None, "fewer than three regions are bright")
    total = float(above[bright].sum())
    noise = math.sqrt(float(variance[bright].sum()))
    change = float(more[bright].sum())
    error = 100 * _SURE * noise / total + _BESIDES_PERCENT
    raw_adu, restored_adu = total / count, (total + change) / count
    if error > _MOST_ERROR_PERCENT:
        return Flux(None, None, "there is too little light", raw_adu, restored_adu)
    return Flux(100 * change / total, error, "", raw_adu, restored_adu)

"""Hot and dead pixels, and the traces of cosmic rays: found before the network sees them. Pure.

A network takes a lone voxel of a thousand grey values for light and smears it over its
surroundings. Optics make no such voxel: whatever is in focus reaches the neighbours, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from live_restore.inference.image.contrast import Room, candidates, candidates_of
from live_restore.inference.image.sums import mean_plane
from live_restore.inference.image.traces import EIGHT, WINDOW, Traces, median_around
from live_restore.stack import Mask, Volume

_Doubles = NDArray[np.float64]
_Indices = NDArray[np.intp]

# What structure, however fine, has around its brightest voxel, over that voxel's own excess: less
# is a defect. A point of 0.45 voxels standard deviation, a third of what Nyquist asks for, has 0.86
# of it in the eight neighbours (integrated over square pixels), and its neighbours above and below
# come on top. In the mean of all planes, where less noise hides in these sums, half is asked.
_AROUND_VOXEL = 0.75
_AROUND_PIXEL = 0.5
# Of two voxels between which such a point lies, and of lines that run along them.
_AROUND_SEVERAL = 0.35
_AROUND_LINE = 0.25
# Single photons among zeros, and those of an EM camera, whose gain scatters from one to the next,
# are lone bright voxels, too. Where there are so many, a cosmic ray is far above their median: of
# an exponential distribution, one in 30 million is.
_MANY_LONE = 1e-4
_FAR_ABOVE_LONE = 25.0
# Of a trace in one plane; the median of 5 x 5 voxels stands for more no longer.
_LARGEST_TRACE = 6
# In each plane a pixel's excess is about the same; of structure it is not. A tenth may blink.
_BLINKING = 0.1
_STEADY = 0.5
_FEWEST_PLANES = 5
_SMALLEST_PLANE = 5


def _nothing(columns: int) -> _Indices:
    return np.zeros((0, columns), np.intp)


@dataclass(frozen=True)
class Defects:
    """Where a stack holds what no sample made.

    Parameters
    ----------
    pixels
        (N, 2) Y, X of pixels that are wrong in every plane.
    voxels
        (N, 3) Z, Y, X of single voxels besides, such as the traces of cosmic rays.
    mapped
        How many of the pixels were known from the camera's map.
    """

    pixels: _Indices = field(default_factory=lambda: _nothing(2))
    voxels: _Indices = field(default_factory=lambda: _nothing(3))
    mapped: int = 0

    def __bool__(self) -> bool:
        return bool(len(self.pixels) or len(self.voxels))

    def first(self, most: int = 20) -> list[list[int]]:
        """Return where the first of them are: Y, X of pixels and Z, Y, X of voxels."""
        return [*self.pixels[:most].tolist(), *self.voxels[:most].tolist()][:most]

    def indices(self, planes: int) -> tuple[_Indices, _Indices, _Indices]:
        """Return Z, Y and X of all that is wrong in a stack of so many planes."""
        z = np.repeat(np.arange(planes), len(self.pixels))
        y, x = np.tile(self.pixels, (planes, 1)).T
        return (
            np.concatenate([z, self.voxels[:, 0]]),
            np.concatenate([y, self.voxels[:, 1]]),
            np.concatenate([x, self.voxels[:, 2]]),
        )

    def mended(self, stack: Volume) -> Volume:
        """Return a copy of a stack (Z, Y, X) in which neighbours stand for the defects.

        Each is the mean of what is good among its eight neighbours in the plane, or, where nothing
        is, among the 24 that are nearest; where nothing is there either, it stays.
        """
        where = self.indices(len(stack))
        bad = np.zeros(stack.shape, bool)
        bad[where] = True
        values = _mean_of_good(stack, bad, where, EIGHT)
        lonely = np.isnan(values)
        if lonely.any():
            z, y, x = where
            values[lonely] = _mean_of_good(stack, bad, (z[lonely], y[lonely], x[lonely]), WINDOW)
        lonely = np.isnan(values)
        values[lonely] = stack[where][lonely]
        copy = stack.copy()
        copy[where] = np.rint(values) if stack.dtype.kind in "iu" else values
        return copy


def find_defects(
    stack: Volume, known: NDArray[np.bool_] | None = None, highest: float | None = None
) -> Defects:
    """Find what no sample made: pixels that are wrong in every plane, and single voxels.

    A pixel is defective if the mean of all planes stands out there, up or down, if hardly anything
    does beside it, and if it stands out in every plane by about the same. Lines of such pixels are
    found as well as single ones. A voxel is one if it is bright, and its neighbours in the plane,
    above and below are not; so are up to six of them that touch each other, as cosmic rays make.

    What the neighbours have is compared with what they would have of the finest point that optics
    make, less what noise allows; noise is the scatter of the 5 x 5 voxels around, structure in it
    included, so that more is asked for where there is structure. No camera need be known. The
    excess over the neighbours and the limit for "hardly anything" are after van Dokkum (PASP 113,
    1420 (2001)), whose Laplacian tells cosmic rays from stars by the sharpness of their edges.

    Parameters
    ----------
    stack
        (Z, Y, X), any real dtype, finite.
    known
        (Y, X), the pixels that the camera's map names.
    highest
        No voxel is above it; ``None``: it is looked for.

    Returns
    -------
    Defects
        Falsy where nothing was found: in planes smaller than 5 x 5, and in stacks without noise, it
        never is. Fewer than 5 planes tell nothing about pixels.
    """
    pixels = _nothing(2)
    mapped = 0
    if known is not None and known.any():
        pixels = np.argwhere(known)
        mapped = len(pixels)
    if min(stack.shape[1:]) < _SMALLEST_PLANE:
        return Defects(pixels, mapped=mapped)
    # Numbers whose squares float32 cannot hold come from no camera: nothing is found among them.
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        highest = float(stack.max()) if highest is None else highest
        looked_at = Defects(pixels).mended(stack) if mapped else stack
        if len(stack) >= _FEWEST_PLANES:
            found = _steady_pixels(looked_at, highest)
            if len(found):
                pixels = np.concatenate([pixels, found])
                looked_at = Defects(pixels).mended(stack)
        voxels = _lone_voxels(looked_at, highest)
    return Defects(pixels, voxels, mapped)


def _steady_pixels(stack: Volume, highest: float) -> _Indices:
    """Return (N, 2) Y, X of pixels that stand out in every plane."""
    mean = mean_plane(stack, highest)[np.newaxis]
    room = Room(mean[0], highest)
    found = []
    for sign in (1, -1):
        if sign < 0:
            np.negative(mean, out=mean)
        traces = Traces.of(mean, [candidates(mean[0], room)])
        if not traces:
            continue
        asked = np.where(
            traces.size == 1,
            _AROUND_PIXEL,
            np.where(traces.size <= _LARGEST_TRACE, _AROUND_SEVERAL, _AROUND_LINE),
        )
        defective = traces.too_sharp(asked, 0.0)
        for trace in np.flatnonzero(defective):
            _, y, x = traces.voxels[traces.trace == trace].T
            excess = _excess_in_planes(stack, y, x) * sign
            if np.quantile(excess, _BLINKING) >= _STEADY * excess.mean() > 0:
                found.append(np.stack([y, x], axis=1))
    return np.concatenate(found) if found else _nothing(2)


def _excess_in_planes(stack: Volume, y: _Indices, x: _Indices) -> _Doubles:
    """Return by how much some pixels stand out in each plane: (Z,), the mean of them."""
    each = np.arange(len(stack))
    z = np.repeat(each, len(y))
    where = z, np.tile(y, len(stack)), np.tile(x, len(stack))
    values = stack[where].astype(np.float64) - median_around(stack, *where)
    return np.asarray(values.reshape(len(stack), -1).mean(axis=1))


def _lone_voxels(stack: Volume, highest: float) -> _Indices:
    """Return (N, 3) Z, Y, X of bright voxels without bright neighbours."""
    found = candidates_of(stack, highest)
    traces = Traces.of(stack, found, _asked_of_voxels)
    if not traces:
        return _nothing(3)
    defective, _ = _judged(traces, stack)
    if defective.any() and sum(len(y) for y, _, _ in found) > _MANY_LONE * stack.size:
        traces = Traces.of(stack, found)
        assert traces is not None
        defective, lone = _judged(traces, stack)
        if np.count_nonzero(lone) > _MANY_LONE * stack.size:
            ordinary = np.median(traces.excess[lone])
            defective &= traces.excess > _FAR_ABOVE_LONE * ordinary * traces.size
    return traces.voxels[defective[traces.trace]]


def _judged(traces: Traces, stack: Volume) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which traces are too sharp, and which are lone voxels, noise not allowed for."""
    asked = _asked_of_voxels(traces.size)
    beside = traces.above_and_below(stack)
    lone = (traces.size == 1) & (traces.around + beside < asked * traces.excess)
    return traces.too_sharp(asked, beside), lone


def _asked_of_voxels(size: _Indices) -> _Doubles:
    """Return what structure has around a trace of a size in one plane; 0: too large for one."""
    asked = np.where(size == 1, _AROUND_VOXEL, _AROUND_SEVERAL)
    asked[size > _LARGEST_TRACE] = 0
    return asked


def _mean_of_good(
    stack: Volume,
    bad: NDArray[np.bool_],
    where: tuple[_Indices, _Indices, _Indices],
    steps: _Indices,
) -> _Doubles:
    """Return the mean of what is good at some steps (Y, X) from some voxels; NaN: nothing is."""
    z, y, x = where
    rows, columns = stack.shape[1:]
    total, count = np.zeros(len(z)), np.zeros(len(z))
    for dy, dx in steps:
        there = (y + dy >= 0) & (y + dy < rows) & (x + dx >= 0) & (x + dx < columns)
        at = z, np.where(there, y + dy, y), np.where(there, x + dx, x)
        good = there & ~bad[at]
        total += np.where(good, stack[at], 0)
        count += good
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def defects_of(
    channels: Volume, known: Mask | None, highest: Sequence[float] | None = None
) -> tuple[tuple[Defects, ...], str]:
    """Return the defects of each channel (C, Z, Y, X), and why the camera's map does not count.

    No voxel of a channel is above its ``highest``; ``None``: it is looked for.
    """
    map_not_used = ""
    if known is not None and known.shape != channels.shape[2:]:
        map_not_used = (
            f"camera.bad_pixels is a map of {known.shape} pixels, which does not fit this "
            f"stack of {channels.shape[2:]}: bad pixels were looked for without it"
        )
        known = None
    most = [None] * len(channels) if highest is None else highest
    found = [find_defects(each, known, top) for each, top in zip(channels, most, strict=True)]
    return tuple(found), map_not_used


def without_defects(channels: Volume, defects: tuple[Defects, ...]) -> Volume:
    """Return the channels (C, Z, Y, X) without their defects: the same array if there are none."""
    if not any(defects):
        return channels
    return np.stack([found.mended(each) for each, found in zip(channels, defects, strict=True)])

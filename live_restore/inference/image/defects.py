"""Hot and dead pixels, and the traces of cosmic rays: found before the network sees them. Pure.

A network takes a lone voxel of a thousand grey values for light and smears it over its
surroundings. Optics make no such voxel: whatever is in focus reaches the neighbours, too.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from live_restore.inference.image.contrast import Room, candidates, candidates_of
from live_restore.inference.image.sums import mean_plane
from live_restore.stack import Mask, Volume

_Floats = NDArray[np.float32]
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
# Standard errors by which that must be missed: of a million points, 30 would be taken for defects.
_SURE = 4.0
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
_WINDOW = np.array([(y, x) for y in range(-2, 3) for x in range(-2, 3)], np.intp)
_EIGHT = np.array([(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1) if y or x], np.intp)


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
        values = _mean_of_good(stack, bad, where, _EIGHT)
        lonely = np.isnan(values)
        if lonely.any():
            z, y, x = where
            values[lonely] = _mean_of_good(stack, bad, (z[lonely], y[lonely], x[lonely]), _WINDOW)
        lonely = np.isnan(values)
        values[lonely] = stack[where][lonely]
        copy = stack.copy()
        copy[where] = np.rint(values) if stack.dtype.kind in "iu" else values
        return copy


def find_defects(stack: Volume, known: NDArray[np.bool_] | None = None) -> Defects:
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
        highest = float(stack.max())  # what is mended is not above it
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
        traces = _Traces.of(mean, [candidates(mean[0], room)])
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
    values = stack[where].astype(np.float64) - _median_around(stack, *where)
    return np.asarray(values.reshape(len(stack), -1).mean(axis=1))


def _lone_voxels(stack: Volume, highest: float) -> _Indices:
    """Return (N, 3) Z, Y, X of bright voxels without bright neighbours."""
    traces = _Traces.of(stack, candidates_of(stack, highest))
    if not traces:
        return _nothing(3)
    asked = np.where(traces.size == 1, _AROUND_VOXEL, _AROUND_SEVERAL)
    asked[traces.size > _LARGEST_TRACE] = 0
    beside = traces.above_and_below(stack)
    defective = traces.too_sharp(asked, beside)
    lone = (traces.size == 1) & (traces.around + beside < asked * traces.excess)
    if np.count_nonzero(lone) > _MANY_LONE * stack.size:
        defective &= traces.excess > _FAR_ABOVE_LONE * np.median(traces.excess[lone]) * traces.size
    return traces.voxels[defective[traces.trace]]


@dataclass(frozen=True)
class _Traces:
    """Voxels that stand out, by the traces that they make with those that touch them in the plane.

    Parameters
    ----------
    voxels, trace
        (N, 3) Z, Y, X, and the number of the trace of each.
    size, excess, around, noise
        Of each trace: its voxels; the sum of their excess over the median of the 5 x 5 around; the
        sum of the excess of their neighbours in the plane; and the noise (ADU).
    neighbours
        Of each trace: how many are in that sum.
    background
        Of each voxel: that median.
    """

    voxels: _Indices
    trace: _Indices
    size: _Indices
    excess: _Doubles
    around: _Doubles
    neighbours: _Indices
    noise: _Doubles
    background: _Doubles

    @classmethod
    def of(
        cls, stack: NDArray[np.generic], found: list[tuple[_Indices, _Indices, float]]
    ) -> _Traces | None:
        """Return the traces of candidates of each plane; ``None`` where there are none."""
        y = np.concatenate([each[0] for each in found])
        x = np.concatenate([each[1] for each in found])
        if not len(y):
            return None
        counts = [len(each[0]) for each in found]
        z = np.repeat(np.arange(len(found)), counts)
        floor = np.repeat([each[2] for each in found], counts)
        # Rows are set apart, so that no voxel is beside the last of the row before.
        row = stack.shape[2] + 2
        keys = (z * (stack.shape[1] + 2) + y) * row + x
        trace = _touching(keys, row)
        size = np.bincount(trace)
        windows = _around(stack, z, y, x).astype(np.float64)
        background = _medians(windows)
        dy, dx = _WINDOW.T
        others = ~_are_in(keys[:, np.newaxis] + dy * row + dx, keys)
        spread = (windows - background[:, np.newaxis]) ** 2 * others
        scatter = np.sqrt(spread.sum(axis=1) / np.maximum(others.sum(axis=1), 1))
        excess = stack[z, y, x].astype(np.float64) - background
        # Each neighbour counts once, however many voxels of the trace it touches.
        beside_y, beside_x = _EIGHT.T
        beside = keys[:, np.newaxis] + beside_y * row + beside_x
        inside = ~_are_in(beside, keys)
        pairs = np.stack(
            [np.repeat(trace, len(_EIGHT)), beside.ravel(), np.arange(beside.size)], axis=1
        )[inside.ravel()]
        # One number of both: what is beside lies row + 1 below 0 to row + 1 above the last key.
        each = pairs[:, 0] * (keys[-1] + 2 * row + 3) + pairs[:, 1] + row + 1
        _, first = np.unique(each, return_index=True)
        pairs = pairs[first]
        which = np.flatnonzero(np.abs(_WINDOW).max(axis=1) == 1)
        values = (windows[:, which] - background[:, np.newaxis]).ravel()[pairs[:, 2]]
        return cls(
            voxels=np.stack([z, y, x], axis=1),
            trace=trace,
            size=size,
            excess=np.bincount(trace, excess).astype(np.float64),
            around=np.bincount(pairs[:, 0], values, len(size)).astype(np.float64),
            neighbours=np.bincount(pairs[:, 0], minlength=len(size)),
            noise=np.bincount(trace, np.maximum(scatter, floor)) / size,
            background=background,
        )

    def above_and_below(self, stack: Volume) -> _Doubles:
        """Return the sum over each trace of the excess in the planes beside its own."""
        total = np.zeros(len(self.size))
        for step in (-1, 1):
            z, y, x = (self.voxels + np.array([step, 0, 0])).T
            there = (z >= 0) & (z < len(stack))
            z = np.where(there, z, 0)
            values = stack[z, y, x].astype(np.float64) - _median_around(stack, z, y, x)
            total += np.bincount(self.trace, np.where(there, values, 0))
        return total

    def too_sharp(self, asked: _Doubles, beside: _Doubles | float) -> NDArray[np.bool_]:
        """Return which traces have less around them than structure would, noise allowed for.

        Parameters
        ----------
        asked
            What structure has around, over the excess of the trace; 0: never too sharp.
        beside
            What is in the planes above and below.
        """
        expected = asked * self.excess
        parts = asked**2 * self.size + self.neighbours + 2 * self.size
        # What is darker beside it by chance, makes nothing sharper.
        lacking = expected - np.maximum(self.around + beside, 0)
        return (asked > 0) & (lacking > _SURE * self.noise * np.sqrt(parts))


def _touching(keys: _Indices, row: int) -> _Indices:
    """Return the number of the trace that each of some sorted keys belongs to."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    size = len(keys)
    edges = []
    for step in (1, row - 1, row, row + 1):
        at = _places(keys + step, keys)
        here = np.flatnonzero(keys[at] == keys + step)
        edges.append(np.stack([here, at[here]]))
    one, other = np.concatenate(edges, axis=1)
    if not len(one):  # often, and a millisecond sooner
        return np.arange(size)
    graph = coo_array((np.ones(len(one), np.int8), (one, other)), shape=(size, size))
    return np.asarray(connected_components(graph, directed=False)[1], np.intp)


def _places(values: _Indices, keys: _Indices) -> _Indices:
    """Return where each value lies among sorted keys, if it is one of them."""
    return np.asarray(np.minimum(np.searchsorted(keys, values), len(keys) - 1))


def _are_in(values: _Indices, keys: _Indices) -> NDArray[np.bool_]:
    """Return which values (N, M) are among N sorted keys, which are near them."""
    columns = [keys[_places(column, keys)] == column for column in values.T]  # each is sorted
    return np.stack(columns, axis=1)


def _around(
    stack: NDArray[np.generic], z: _Indices, y: _Indices, x: _Indices
) -> NDArray[np.generic]:
    """Return the 5 x 5 voxels around some, (N, 25); beyond the rim the stack is mirrored."""
    rows, columns = stack.shape[1:]
    dy, dx = _WINDOW.T
    return stack[
        z[:, np.newaxis],
        _mirrored(y[:, np.newaxis] + dy, rows),
        _mirrored(x[:, np.newaxis] + dx, columns),
    ]


def _median_around(stack: NDArray[np.generic], z: _Indices, y: _Indices, x: _Indices) -> _Doubles:
    return _medians(_around(stack, z, y, x).astype(np.float64))


def _medians(windows: _Doubles) -> _Doubles:
    """Return the median of each row of an odd length: a sixth of the time of ``numpy.median``."""
    middle = windows.shape[1] // 2
    return np.asarray(np.partition(windows, middle, axis=1)[:, middle])


def _mirrored(index: _Indices, size: int) -> _Indices:
    index = np.abs(index)
    return np.where(index < size, index, 2 * (size - 1) - index)


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


def defects_of(channels: Volume, known: Mask | None) -> tuple[tuple[Defects, ...], str]:
    """Return the defects of each channel (C, Z, Y, X), and why the camera's map does not count."""
    map_not_used = ""
    if known is not None and known.shape != channels.shape[2:]:
        map_not_used = (
            f"camera.bad_pixels is a map of {known.shape} pixels, which does not fit this "
            f"stack of {channels.shape[2:]}: bad pixels were looked for without it"
        )
        known = None
    return tuple(find_defects(each, known) for each in channels), map_not_used


def without_defects(channels: Volume, defects: tuple[Defects, ...]) -> Volume:
    """Return the channels (C, Z, Y, X) without their defects: the same array if there are none."""
    if not any(defects):
        return channels
    return np.stack([found.mended(each) for each, found in zip(channels, defects, strict=True)])

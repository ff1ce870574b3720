"""Voxels that stand out in a plane, by what lies around them. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from live_restore.stack import Volume

_Doubles = NDArray[np.float64]
_Indices = NDArray[np.intp]

# Standard errors by which what is asked must be missed: of a million points, 30 would be taken for
# defects.
_SURE = 4.0
WINDOW = np.array([(y, x) for y in range(-2, 3) for x in range(-2, 3)], np.intp)
EIGHT = np.array([(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1) if y or x], np.intp)
"""Steps (Y, X) to the 5 x 5 pixels around one, and to its neighbours."""


@dataclass(frozen=True)
class Traces:
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
        cls,
        stack: NDArray[np.generic],
        found: list[tuple[_Indices, _Indices, float]],
        asked: Callable[[_Indices], _Doubles] | None = None,
    ) -> Traces | None:
        """Return the traces of candidates of each plane; ``None`` where there are none.

        With ``asked`` (of sizes; see :meth:`too_sharp`) only those that stand out by so much that
        they would be too sharp with nothing around them: a few in a hundred, and most of the work
        is with what lies around.
        """
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
        excess = stack[z, y, x].astype(np.float64) - background
        here = keys
        if asked is not None:
            share = asked(size)
            most = share * np.bincount(trace, excess)
            chance = _chance(share, size, len(EIGHT), np.bincount(trace, floor) / size)
            may_be = most > 0.999 * chance
            some = may_be[trace]
            if not some.any():
                return None
            size = size[may_be]
            trace = (np.cumsum(may_be) - 1)[trace[some]]
            here, z, y, x, floor = keys[some], z[some], y[some], x[some], floor[some]
            windows, background, excess = windows[some], background[some], excess[some]
        dy, dx = WINDOW.T
        others = ~_are_in(here[:, np.newaxis] + dy * row + dx, keys)
        spread = (windows - background[:, np.newaxis]) ** 2 * others
        scatter = np.sqrt(spread.sum(axis=1) / np.maximum(others.sum(axis=1), 1))
        # Each neighbour counts once, however many voxels of the trace it touches.
        beside_y, beside_x = EIGHT.T
        beside = here[:, np.newaxis] + beside_y * row + beside_x
        inside = ~_are_in(beside, keys)
        pairs = np.stack(
            [np.repeat(trace, len(EIGHT)), beside.ravel(), np.arange(beside.size)], axis=1
        )[inside.ravel()]
        # One number of both: what is beside lies row + 1 below 0 to row + 1 above the last key.
        each = pairs[:, 0] * (keys[-1] + 2 * row + 3) + pairs[:, 1] + row + 1
        _, first = np.unique(each, return_index=True)
        pairs = pairs[first]
        which = np.flatnonzero(np.abs(WINDOW).max(axis=1) == 1)
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
            values = stack[z, y, x].astype(np.float64) - median_around(stack, z, y, x)
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
        # What is darker beside it by chance, makes nothing sharper.
        lacking = expected - np.maximum(self.around + beside, 0)
        return (asked > 0) & (lacking > _chance(asked, self.size, self.neighbours, self.noise))


def _chance(
    asked: _Doubles, size: _Indices, neighbours: _Indices | int, noise: _Doubles
) -> _Doubles:
    """Return by how much chance alone may make less of what lies around traces (ADU).

    That is of the voxels of a trace, of its neighbours in the plane, and of those above and below.
    """
    return np.asarray(_SURE * noise * np.sqrt(asked**2 * size + neighbours + 2 * size))


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
    dy, dx = WINDOW.T
    return stack[
        z[:, np.newaxis],
        _mirrored(y[:, np.newaxis] + dy, rows),
        _mirrored(x[:, np.newaxis] + dx, columns),
    ]


def median_around(stack: NDArray[np.generic], z: _Indices, y: _Indices, x: _Indices) -> _Doubles:
    """Return the median of the 5 x 5 voxels of a plane around some."""
    return _medians(_around(stack, z, y, x).astype(np.float64))


def _medians(windows: _Doubles) -> _Doubles:
    """Return the median of each row of an odd length: a sixth of the time of ``numpy.median``."""
    middle = windows.shape[1] // 2
    return np.asarray(np.partition(windows, middle, axis=1)[:, middle])


def _mirrored(index: _Indices, size: int) -> _Indices:
    index = np.abs(index)
    return np.where(index < size, index, 2 * (size - 1) - index)

"""Overlapping windows over a stack, and the pieces in which it is gone through.

An axis is cut into cells; two neighbouring cells make a window, which so overlaps the next by half.
An axis that is no longer than a window is a single cell, and that is its window.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_Floats = NDArray[np.float32]
_Doubles = NDArray[np.float64]
_Edges = NDArray[np.intp]

# Of 1024 voxels the mean square of white noise is known to 4 %.
_WINDOW_VOXELS = 1024
_WINDOW_PLANES = 4
# Worked on at once: a few such float32 arrays stay in a core's cache.
_PIECE_VOXELS = 2**16


@dataclass(frozen=True)
class Piece:
    """Cells that are worked on at once.

    Parameters
    ----------
    cells, windows, voxels
        Where they are along Z and Y; X is whole. ``windows`` are all that hold any of the cells.
    edges
        Where the cells begin and end along Z, Y and X, in voxels of the piece.
    """

    cells: tuple[slice, slice]
    windows: tuple[slice, slice]
    voxels: tuple[slice, slice]
    edges: tuple[_Edges, _Edges, _Edges]

    def sums(self, values: _Floats) -> _Floats:
        """Return the sum of (Z, Y, X) over each cell."""
        z, y, x = self.edges
        # Whole rows are added first: that is what processors are good at.
        rows = np.stack(
            [
                [values[a:b, c:d].sum((0, 1)) for c, d in itertools.pairwise(y)]
                for a, b in itertools.pairwise(z)
            ]
        )
        return np.asarray(np.add.reduceat(rows, x[:-1], axis=2))


@dataclass(frozen=True)
class Grid:
    """A stack (Z, Y, X) in cells, which begin and end at ``edges``."""

    edges: tuple[_Edges, _Edges, _Edges]

    @classmethod
    def of(cls, shape: tuple[int, ...]) -> Grid:
        """Return windows of about as many voxels each, however flat or narrow the stack is."""
        z, y, x = shape
        planes = max(_WINDOW_PLANES, math.ceil(_WINDOW_VOXELS / (y * x)))
        area = _WINDOW_VOXELS / min(planes, z)
        rows = max(round(math.sqrt(area)), math.ceil(area / x))
        columns = max(1, round(area / min(rows, y)))
        return cls((_cell_edges(z, planes), _cell_edges(y, rows), _cell_edges(x, columns)))

    @property
    def shape(self) -> tuple[int, int, int]:
        """How many cells there are along Z, Y and X."""
        z, y, x = (len(edges) - 1 for edges in self.edges)
        return z, y, x

    def voxels(self) -> _Doubles:
        """Return how many voxels each cell has."""
        z, y, x = (np.diff(edges).astype(np.float64) for edges in self.edges)
        return np.asarray(z[:, np.newaxis, np.newaxis] * y[:, np.newaxis] * x)

    def cells_of(self, axis: int) -> _Edges:
        """Return the cell that each voxel of an axis is in."""
        return np.repeat(np.arange(self.shape[axis]), np.diff(self.edges[axis]))

    def windows(self, sums: _Doubles) -> _Doubles:
        """Return sums over windows of sums over cells."""
        for axis, cells in enumerate(self.shape):
            if cells > 1:
                each = np.arange(cells)
                sums = sums.take(each[:-1], axis) + sums.take(each[1:], axis)
        return sums

    def pieces(self) -> Iterator[Piece]:
        """Yield the stack in pieces: layers of many cells, or rows of cells of a large stack."""
        z, y, x = self.edges
        layer = int(np.diff(z).max()) * int(y[-1]) * int(x[-1])
        row = int(np.diff(z).max()) * int(np.diff(y).max()) * int(x[-1])
        layers = max(1, _PIECE_VOXELS // layer)
        rows = self.shape[1] if layers > 1 else max(1, _PIECE_VOXELS // row)
        for along_z, along_y in itertools.product(_runs(z, layers), _runs(y, rows)):
            yield Piece(
                (along_z.cells, along_y.cells),
                (along_z.windows, along_y.windows),
                (along_z.voxels, along_y.voxels),
                (along_z.edges, along_y.edges, x),
            )

    def between_centres(self, weights: _Floats, piece: Piece) -> _Floats:
        """Return weights of windows, (Z, Y, X), for the voxels of a piece.

        Interpolated between the windows' centres; at the rim of the stack the outermost weight
        holds.
        """
        for axis, voxels in enumerate((*piece.voxels, slice(0, int(self.edges[2][-1])))):
            if self.shape[axis] == 1:
                continue
            centres = self.edges[axis][1:-1] - 0.5
            place = np.interp(
                np.arange(voxels.start, voxels.stop), centres, np.arange(len(centres))
            )
            lower = np.minimum(place.astype(np.intp), len(centres) - 2)
            beyond = np.expand_dims(
                (place - lower).astype(np.float32), tuple(i for i in range(3) if i != axis)
            )
            near, far = weights.take(lower, axis), weights.take(lower + 1, axis)
            weights = near * (1 - beyond) + far * beyond
        return weights


def _cell_edges(size: int, window: int) -> _Edges:
    """Return where the cells of an axis begin and end: as even as can be."""
    windows = round(size / window)
    cells = min(2 * windows, size) if windows > 1 else 1
    return np.linspace(0, size, (cells if cells > 2 else 1) + 1).astype(np.intp)


@dataclass(frozen=True)
class _Run:
    """Some cells of an axis, one after the other."""

    cells: slice
    windows: slice
    voxels: slice
    edges: _Edges


def _runs(edges: _Edges, length: int) -> Iterator[_Run]:
    cells = len(edges) - 1
    for first in range(0, cells, length):
        last = min(first + length, cells)
        here = edges[first : last + 1]
        yield _Run(
            slice(first, last),
            # Window i holds the cells i and i + 1.
            slice(max(first - 1, 0), max(min(last, cells - 1), 1)),
            slice(int(here[0]), int(here[-1])),
            here - here[0],
        )
